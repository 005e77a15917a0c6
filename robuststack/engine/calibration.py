"""What a defense sees when it is calibrated, behind its last phase of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

from torch import Tensor

from robuststack.engine.attack import attack_block
from robuststack.engine.data import Data, training_batches
from robuststack.engine.runtime import Runtime
from robuststack.layers.condition import View
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.dataset import Augmentation, Split
from robuststack.plugin.threat import Threat


class CalibrationData:
    """Data and the training attack (`plugin.calibration.Calibration`); every random number is of the streams of `seed`."""

    def __init__(
        self,
        splits: Mapping[Split, Data],
        augmentation: Augmentation,
        batch_size: int,
        attack: GradientAttack,
        threat: Threat,
        runtime: Runtime,
        seed: int,
    ) -> None:
        self._splits, self._augmentation, self._batch_size = splits, augmentation, batch_size
        self._attack, self._threat, self._runtime, self._seed = attack, threat, runtime, seed
        self._attacks = count()

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._splits["validation"].batches(self._batch_size)

    def training(self) -> Iterator[tuple[Tensor, Tensor]]:
        return training_batches(self._splits["train"], self._batch_size, self._augmentation, self._seed, 0)

    def attack(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        adversarial, _ = attack_block(
            view, x, y, self._attack, self._threat, self._runtime,
            seed=self._seed, number=next(self._attacks), early_stop=False,
        )  # fmt: skip
        return adversarial
