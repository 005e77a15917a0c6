"""Projected gradient descent."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

import robuststack as rs
from robuststack.attacks import Average
from robuststack_plugins.attacks.averaging import average_option

SMALL_EPS = 4 / 255


class PGD(rs.GradientAttack):
    """Projected gradient descent on the cross-entropy, from a uniform random start in the ball."""

    paper = "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
    title: ClassVar[str] = "PGD"
    """What the label begins with."""

    class Options(rs.Options):
        steps: int = rs.option(20, "Gradient steps.", ge=1, smoke=2)
        step: Literal["relative", "oat"] | Annotated[rs.Number, Field(gt=0)] = rs.option(
            "relative",
            "Step size: `relative` is 2.5 eps / steps, `oat` is min(1.25 eps, eps + 4/255) / steps (the paper's, for linf;"
            " above eps = 16/255 it is too short to reach the ball's corners), or a number in pixel units.",
        )
        restarts: int = rs.option(1, "Random starts; for each image the one that hurts most is kept.", ge=1, smoke=1)
        draws: rs.Draws = rs.option(
            20,
            "EOT: forward passes a step whose gradients are averaged, on randomised points; others use one; or `auto`.",
            smoke=2,
        )

        average: Average = average_option()
        early_stop: bool = rs.option(
            True,
            "On deterministic points, an image that the model gets wrong is kept and attacked no further; with false every"
            " image takes all steps. Training attacks always do.",
        )

    @property
    def label(self) -> str:
        restarts = f"x{self.options.restarts}" if self.options.restarts > 1 else ""
        return f"{self.title}-{self.steps}{restarts}"

    @property
    def steps(self) -> int:
        return int(self.options.steps)

    @property
    def restarts(self) -> int:
        return int(self.options.restarts)

    def check_threat(self, threat: rs.Threat) -> None:
        if self.options.step == "oat" and threat.norm != "linf":
            raise ValueError(f"step: 'oat' is a rule for linf, not {threat.norm}; use 'relative' or a number")
        if not isinstance(self.options.step, str):
            threat.check_step("step", self.options.step)

    def step_size(self, threat: rs.Threat) -> float:
        rule = self.options.step
        if rule == "oat":
            return min(1.25 * threat.eps, threat.eps + SMALL_EPS) / self.steps
        return 2.5 * threat.eps / self.steps if rule == "relative" else float(rule)
