"""What defenses do alike that are deployed as the mean probability of several draws."""

from __future__ import annotations

from typing import Any

import robuststack as rs


def ensemble_knob(default: int) -> Any:
    return rs.option(
        default,
        "Draws whose mean probability is the answer; each costs a forward pass. 1 answers with a single draw.",
        ge=1,
        le=200,
    )


def ensemble_setting(draws: int) -> rs.Setting:
    """The mean probability of so many draws."""
    return rs.Setting({"noise": 1.0, "ensemble": draws}, stochastic=True)


class Ensembled(rs.Defense):
    """A defense whose answer is the mean probability of as many draws as its knob `ensemble` says."""

    def setting(self, point: rs.Point) -> rs.Setting:
        return ensemble_setting(point["ensemble"])

    def quiet(self, setting: rs.Setting) -> rs.Setting | None:
        """The network without its noise, of which one pass says it all."""
        return rs.Setting({"noise": 0.0, "ensemble": 1}) if setting.stochastic else None

    def forward_passes(self, setting: rs.Setting) -> float:
        return float(setting.values["ensemble"])
