"""What defenses do alike that are deployed as the mean probability of several draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import robuststack as rs

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import Condition


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

    published_draws: ClassVar[int]
    """Whose mean probability the reference code judges."""

    def noisy(self, network: nn.Module, condition: Condition, shape: tuple[int, int, int]) -> nn.Module:
        """The network [C, H, W] -> logits with noise, which a view scales by its value `noise`."""
        raise NotImplementedError

    def operating_points(self) -> list[rs.Point]:
        return [{"ensemble": 1}, {"ensemble": self.published_draws}]

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition
        from robuststack.layers.ensemble import DrawEnsemble

        condition = Condition("noise", "ensemble", "member")
        return DrawEnsemble(self.noisy(architecture.build(shape, num_classes), condition, shape), condition)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is how the reference codes score, at every point: the attacker takes the gradient of one draw a
        step, and the mean probability of `published_draws` counts."""
        judged = ensemble_setting(self.published_draws)
        published = rs.Scoring(clean=judged, attacker=ensemble_setting(1), victim=judged, draws=1)
        return {**super().protocols(point), "published": published}

    def setting(self, point: rs.Point) -> rs.Setting:
        return ensemble_setting(point["ensemble"])

    def quiet(self, setting: rs.Setting) -> rs.Setting | None:
        """The network without its noise, of which one pass says it all."""
        return rs.Setting({"noise": 0.0, "ensemble": 1}) if setting.stochastic else None

    def forward_passes(self, setting: rs.Setting) -> float:
        return float(setting.values["ensemble"])
