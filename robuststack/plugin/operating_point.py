"""How a defense is run: its points, their settings, and the protocols that score them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Point = Mapping[str, Any]
"""An operating point: knob -> value, as a suite writes it, for example {"lambda_n": 0.2, "lambda_th": 0.5}."""


@dataclass(frozen=True)
class Setting:
    """How a model is run: the values of its condition's fields, as JSON data, and whether its forward pass is random.

    Points that come to the same setting share their attack jobs.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    stochastic: bool = False

    def resolved(self) -> dict[str, Any]:
        return {"values": dict(self.values), "stochastic": self.stochastic}


@dataclass(frozen=True)
class Scoring:
    """One protocol at one point: what runs for clean accuracy, what the attacker sees, and what is attacked."""

    clean: Setting
    attacker: Setting
    victim: Setting
    draws: int | None = None
    """How many noise draws attacks average over if the attacker's model is randomised; None: as the suite sets each."""
    bakes: int = 0
    """How many frozen draws stand for the attacker's model in turn. A frozen (baked) draw is one realisation of all its
    randomness: the attack sees a deterministic model. The figure is the mean over them. 0: the attacker's model draws its
    noise afresh."""
    victim_baked: bool = False
    """Whether each frozen draw is also what is judged, attacked and clean; otherwise the victim draws its noise afresh."""

    def __post_init__(self) -> None:
        if self.bakes < 0:
            raise ValueError(f"bakes is {self.bakes}; valid: 0 or more")
        if self.victim_baked and not self.bakes:
            raise ValueError("victim_baked needs bakes of 1 or more: what is judged is the attacker's baked draw")
        if self.victim_baked and not self.attacker == self.victim == self.clean:
            raise ValueError("victim_baked: clean, attacker and victim are one setting, whose baked draw is all three")
        if self.bakes and not self.attacker.stochastic:
            raise ValueError("bakes: the attacker's setting draws no noise, so there is nothing to bake")

    @property
    def attacker_draws_noise(self) -> bool:
        """Whether two forward passes of what the attacker sees differ."""
        return self.attacker.stochastic and not self.bakes

    @property
    def victim_draws_noise(self) -> bool:
        """Whether two forward passes of what is judged differ."""
        return self.victim.stochastic and not self.victim_baked

    def randomised(self) -> Scoring:
        """The same of a model that draws noise at every setting."""
        parts = {name: replace(getattr(self, name), stochastic=True) for name in ("clean", "attacker", "victim")}
        return replace(self, **parts)  # type: ignore[arg-type]
