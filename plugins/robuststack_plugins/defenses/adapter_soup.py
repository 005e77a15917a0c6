"""Adapter soup: two affine sets of each norm, trained together and mixed at deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import robuststack as rs
from robuststack_plugins.defenses.two_ends import BetweenTwoEnds

if TYPE_CHECKING:
    from torch import nn


class AdapterSoup(BetweenTwoEnds):
    """Co-trained adapters: gamma and beta of each norm for clean and for adversarial images, mixed by lambda.

    At deployment gamma = (1 - lambda) gamma_c + lambda gamma_a, and beta alike: a soup of the two models, which share all
    other weights.
    """

    paper = "Rebuffi et al., Revisiting Adapters with Adversarial Training, ICLR 2023, arXiv 2210.04886"

    class Options(rs.Options):
        statistics: Literal["shared", "dual"] = rs.option(
            "shared",
            "Running mean and variance of batch norms: one set for both ends, or one each, mixed like gamma.",
            shown=True,
        )

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.affine_soup import add_soup
        from robuststack.layers.condition import Condition, attach

        condition = Condition("mix")
        model = architecture.build(shape, num_classes)
        return attach(add_soup(model, condition, dual=self.options.statistics == "dual"), condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """Co-training: L = 0.5 CE(clean; lambda = 0) + 0.5 CE(adversarial; lambda = 1), both over the whole
        batch, the attack against lambda = 1."""
        from torch.nn import functional

        clean_view, robust_view = (self.view(step.model, rs.Setting({"mix": end})) for end in (0.0, 1.0))
        clean = clean_view(step.x)
        step.observe("ca", clean, step.y)
        step.backward(0.5 * functional.cross_entropy(clean, step.y))
        adversarial = robust_view(step.attack(robust_view, step.x, step.y))
        step.observe("ra", adversarial, step.y)
        step.backward(0.5 * functional.cross_entropy(adversarial, step.y))

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"mix": point["lambda"]})
