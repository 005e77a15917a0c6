"""How much work an attack or a phase of training is, as far as a plan can know: a run may yet choose its draws."""

from __future__ import annotations

from robuststack.plugin.attack import Attack, GradientAttack
from robuststack.plugin.dataset import Dataset
from robuststack.suite.phases import PlannedPhase

GUESSED_DRAWS = 4
"""Until a run has chosen the draws."""


def attack_passes(attack: Attack, stochastic: bool) -> float:
    """Forward passes of an attack for each image; a gradient counts one more."""
    known = attack.with_draws(GUESSED_DRAWS) if attack.chooses_draws else attack
    return known.image_passes(stochastic)


def training_passes(planned: PlannedPhase, dataset: Dataset, attack: GradientAttack) -> tuple[float, float]:
    """Forward passes of a phase of training with that attack, over all of its epochs, and how many of them are the
    attack's."""
    recipe, trainer = planned.recipe, planned.phase.trainer
    images = dataset.size("train") // recipe.batch_size * recipe.batch_size * recipe.epochs * attack.replays
    passes = trainer.image_passes(attack.steps)
    return images * passes, images * (passes - trainer.image_passes(0))
