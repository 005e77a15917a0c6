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
    """How many noise draws attacks average over where the attacker's model is randomised; None: as the suite sets each."""

    def randomised(self) -> Scoring:
        """The same of a model that draws noise at every setting."""
        parts = {name: replace(getattr(self, name), stochastic=True) for name in ("clean", "attacker", "victim")}
        return replace(self, **parts)  # type: ignore[arg-type]
