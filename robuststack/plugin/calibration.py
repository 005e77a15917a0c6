"""What a defense sees when it is calibrated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from robuststack.layers.condition import View


class Calibration(Protocol):
    """Data and an attack, as `Defense.calibrate` receives them.

    A batch is images [B, C, H, W], float32 in [0, 1], and labels [B]. It has the size of the last phase's batches; the last
    one of the validation split may be smaller.
    """

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation split, in order."""

    def training(self) -> Iterator[tuple[Tensor, Tensor]]:
        """An epoch of the training images, augmented as in training; the same at every call."""

    def attack(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images [N, C, H, W] in [0, 1] against `view`, by the recipe's training attack, or by PGD-10 if that
        takes one step or none, and within its radius.

        Args:
            view: what is attacked, such as `self.view(model, setting)`, in eval mode.
            x: clean images [N, C, H, W].
            y: labels [N].
        """
