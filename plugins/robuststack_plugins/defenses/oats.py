"""OATS: OAT whose width is chosen at deployment too."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import robuststack as rs
from robuststack_plugins.defenses.oat import OnceForAll
from robuststack_plugins.defenses.widths import Widths, at_each_width, check_width, width_knob, widths_option, work

if TYPE_CHECKING:
    from torch import nn


class OnceForAllSlim(OnceForAll):
    """OAT on a slimmable network: lambda and width are tuned.

    Each width has dual batch norms of its own; a FiLM layer serves all widths of its place. The widths are those of the
    FLOAT paper's comparison; OAT's own are 0.5, 0.75 and 1. Accuracies shown in training are means over the widths.
    """

    paper = (
        "Wang et al., Once-for-All Adversarial Training, NeurIPS 2020, arXiv 2010.11828 (OATS);"
        " Yu et al., Slimmable Neural Networks, ICLR 2019, arXiv 1812.08928"
    )

    head_for_each_width: ClassVar[bool] = False
    """Whether each width has an output layer to itself."""

    class Options(OnceForAll.Options):
        widths: Widths = widths_option()

    class Knobs(OnceForAll.Knobs):
        width: float = width_knob()

    def operating_points(self) -> list[rs.Point]:
        return at_each_width(super().operating_points(), self.options.widths)

    def check_point(self, point: rs.Point) -> None:
        super().check_point(point)
        check_width(point, self.options.widths)

    def image_passes(self, steps: int) -> float:
        return work(self.options.widths) * super().image_passes(steps)

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.codebook import add_codebook
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_norm import dualise
        from robuststack.layers.film import modulate
        from robuststack.layers.slimmable import SwitchableBatchNorm2d, slim

        condition = Condition("branch", "split", "code", "width")
        network = architecture.build(shape, num_classes)
        model = slim(network, self.options.widths, condition, heads=self.head_for_each_width)
        modulate(model, SwitchableBatchNorm2d, self.options.dim, condition)
        return attach(add_codebook(dualise(model, condition), self.options.dim), condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """OAT's passes at each width, the widest first, with the same lambdas; one optimiser step after all."""
        zeros, index = self._draw(step)
        for width in reversed(self.options.widths):
            self._passes(step, zeros, index, width=width)

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({**super().setting(point).values, "width": point["width"]})
