"""How much work an attack is, as far as a plan can know: a run may yet choose its draws."""

from __future__ import annotations

from robuststack.plugin.attack import Attack

GUESSED_DRAWS = 4
"""Until a run has chosen the draws."""


def attack_passes(attack: Attack, stochastic: bool) -> float:
    """Forward passes of an attack for each image; a gradient counts one more."""
    known = attack.with_draws(GUESSED_DRAWS) if attack.chooses_draws else attack
    return known.image_passes(stochastic)
