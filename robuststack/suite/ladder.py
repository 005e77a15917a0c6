"""The ladder: what the attacker knows of a randomised point, rung by rung, as protocols beside the defense's own.

The headline, `adaptive`, is a rung too: there the attacker knows the distribution of the noise, and averages over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Scoring, Setting

ADAPTIVE = "adaptive"
OFF = "off"
"""The attacker sees the point with its noise off; the victim draws its noise afresh."""
SURROGATE = "surrogate"
"""The attacker sees baked draws of its own; the victim draws its noise afresh."""
FROZEN_KNOWN = "frozen_known"
"""The attacker sees the very baked draw that is deployed and judged: what fixing the seed at deployment gives away."""
RUNGS = (OFF, SURROGATE, FROZEN_KNOWN)


@dataclass(frozen=True)
class Ladder:
    """The rungs of one randomised point beside `adaptive`."""

    protocols: Mapping[str, Scoring]
    inapplicable: Mapping[str, str]
    """Rung -> why this point does not have it."""


def ladder(defense: Defense, adaptive: Scoring, bakes: int, *, users_noise: bool = False) -> Ladder | None:
    """The rungs of the point that `adaptive` scores; None if that point draws no noise.

    Args:
        bakes: baked draws that stand for the model in turn, 5 or more.
        users_noise: whether the user says that the model draws noise of its own: nothing can switch off or keep that.
    """
    deployed = adaptive.victim
    if not deployed.stochastic:
        return None
    quiet, reason = _quiet(defense, deployed, users_noise)
    unfrozen = _why_not_frozen(defense, users_noise)
    protocols: dict[str, Scoring] = {}
    inapplicable: dict[str, str] = {}
    if quiet is None:
        inapplicable[OFF] = reason
    else:
        protocols[OFF] = replace(adaptive, attacker=quiet, draws=None, bakes=0)
    if unfrozen:
        inapplicable |= {SURROGATE: unfrozen, FROZEN_KNOWN: unfrozen}
    else:
        protocols[SURROGATE] = replace(adaptive, attacker=deployed, draws=None, bakes=bakes)
        protocols[FROZEN_KNOWN] = Scoring(deployed, deployed, deployed, bakes=bakes, victim_baked=True)
    return Ladder(protocols, inapplicable)


def _quiet(defense: Defense, deployed: Setting, users_noise: bool) -> tuple[Setting | None, str]:
    """The setting with its noise off or, if there is none, why."""
    if users_noise:
        return None, "the user's model draws noise that RobustStack cannot switch off"
    return defense.quiet(deployed), f"defense {defense.name!r} has no setting with its noise off"


def _why_not_frozen(defense: Defense, users_noise: bool) -> str:
    if users_noise:
        return "the user's model draws noise of which RobustStack cannot keep one draw"
    return "" if defense.freezable else f"defense {defense.name!r} draws noise of which no single draw can be kept"
