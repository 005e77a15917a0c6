"""FLOAT Slim: FLOAT whose width is chosen at deployment too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses import halves
from robuststack_plugins.defenses.float import Float
from robuststack_plugins.defenses.widths import Widths, at_each_width, check_width, width_knob, widths_option, work

if TYPE_CHECKING:
    from torch import nn


class FloatSlim(Float):
    """FLOAT on a slimmable network, noise, branch and width are tuned: "FLOATS" of the arXiv paper.

    WACV 2023 gives that name to FLOAT Sparse. Each width has dual batch norms of its own; weights and noise scales are
    shared. The noise is drawn for the whole weight, with its standard deviation, and sliced with it. Accuracies shown in
    training are means over the widths.
    """

    paper = (
        "Kundu et al., FLOAT: Fast Learnable Once-for-all Adversarial Training, arXiv 2204.00426 (FLOAT Slim);"
        " Yu et al., Slimmable Neural Networks, ICLR 2019, arXiv 1812.08928"
    )

    class Options(Float.Options):
        widths: Widths = widths_option()

    class Knobs(Float.Knobs):
        width: float = width_knob()

    def operating_points(self) -> list[rs.Point]:
        return at_each_width(super().operating_points(), self.options.widths)

    def check_point(self, point: rs.Point) -> None:
        check_width(point, self.options.widths)

    def image_passes(self, steps: int) -> float:
        return work(self.options.widths) * super().image_passes(steps)

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_norm import dualise
        from robuststack.layers.noise import add_noise
        from robuststack.layers.slimmable import slim

        condition = Condition("branch", "split", "noise", "width")
        model = slim(architecture.build(shape, num_classes), self.options.widths, condition)
        return attach(add_noise(dualise(model, condition), condition), condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """Algorithm 2: FLOAT's passes at each width in turn, attacked at that width; one optimiser step after all."""
        for width in self.options.widths:
            clean, robust = {"noise": 0.0, "width": width}, {"noise": 1.0, "width": width}
            halves.train_halves(step, self.options.recipe, clean, robust, self.options.awp)

    def _setting(self, point: rs.Point, branch: int, noise: float) -> rs.Setting:
        plain = super()._setting(point, branch, noise)
        return rs.Setting({**plain.values, "width": point["width"]}, stochastic=plain.stochastic)
