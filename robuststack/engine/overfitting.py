"""The watch for catastrophic overfitting in training by one step: what `evidence.overfitting` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Generator, Tensor, nn

from robuststack.engine.data import Data
from robuststack.engine.evaluate import evaluate
from robuststack.engine.random_streams import stream_seed
from robuststack.engine.runtime import Runtime
from robuststack.evidence.overfitting import FGSM, PGD
from robuststack.image_selection import sampled
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.defense import Defense
from robuststack.plugin.threat import Threat

IMAGES = 100
"""Of the validation split: a fall from any figure to nothing shows on as few."""


class _PGD10(GradientAttack):
    """PGD-10 from a uniform start, 2.5 eps / 10 a step."""

    name = "PGD-10"
    steps: ClassVar[int] = 10

    def step_size(self, threat: Threat) -> float:
        return 2.5 * threat.eps / self.steps


class _FGSM(GradientAttack):
    """One step of eps from the clean image."""

    name = "FGSM"
    steps: ClassVar[int] = 1

    def step_size(self, threat: Threat) -> float:
        return threat.eps

    def start(self, x: Tensor, threat: Threat, generator: Generator) -> Tensor:
        return x


JUDGES: Mapping[str, GradientAttack] = {PGD: _PGD10(), FGSM: _FGSM()}
"""What an epoch shows -> the attack that tells it."""


def beyond_one_step(attack: GradientAttack) -> GradientAttack:
    """What weights are held against that `attack` trained: PGD-10 if that takes one step or none, since such
    training may withstand one step and no other attack."""
    return JUDGES[PGD] if attack.steps <= 1 else attack


def watched(
    model: nn.Module,
    defense: Defense,
    validation: Data,
    threat: Threat,
    runtime: Runtime,
    seed: int,
    epoch: int,
) -> dict[str, float]:
    """RA in percent under PGD and under FGSM after an epoch (1-based), at the reference point, on at most `IMAGES` images
    of the validation split, the same in each epoch. A randomised setting is judged on one draw."""
    view = defense.view(model, defense.reference_setting())
    images = validation.at(sampled(validation.labels.cpu().numpy(), IMAGES))
    shown = {}
    for name, attack in JUDGES.items():
        outcome = evaluate(
            view, view, images, attack, threat, runtime,
            seed=stream_seed(seed, "watch", epoch, name), draws=1, batch_size=IMAGES,
        )  # fmt: skip
        shown[name] = 100 * float(outcome.correct.float().mean())
    return shown
