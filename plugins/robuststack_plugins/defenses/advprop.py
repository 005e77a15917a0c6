"""AdvProp: dual norm alone, which is FLOAT without its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import robuststack as rs
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack_plugins.defenses import halves

if TYPE_CHECKING:
    from torch import nn


class AdvProp(rs.Defense):
    """Dual norm, batch norm as published: clean images through one branch and adversarial ones through the other.

    It is trained as FLOAT is, with alpha fixed at 0: the difference between the two is what the noise does.
    """

    paper = "Xie et al., Adversarial Examples Improve Image Recognition, CVPR 2020, arXiv 1911.09665"

    class Options(rs.Options):
        recipe: halves.Recipe = halves.recipe_option()

    class Knobs(rs.Options):
        lambda_: float = Field(
            1.0, alias="lambda", ge=0, le=1, description="0 is the clean branch, 1 the adversarial one; none between."
        )

    min_batch = 2  # One half clean, one half adversarial.

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda": 0.0}, {"lambda": 1.0}]

    def check_point(self, point: rs.Point) -> None:
        if point["lambda"] not in (0, 1):
            raise ValueError(
                f"lambda {point['lambda']:g}: the two branches of the norms are a choice with nothing in between;"
                " valid: 0, 1"
            )

    def image_passes(self, steps: int) -> float:
        return halves.image_passes(self.options.recipe, steps)

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_norm import dualise

        condition = Condition("branch", "split")
        return attach(dualise(architecture.build(shape, num_classes), condition), condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """FLOAT's Algorithm 1 without noise."""
        halves.train_halves(step, self.options.recipe, clean={}, robust={})

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"branch": ADVERSARIAL if point["lambda"] == 1 else CLEAN})
