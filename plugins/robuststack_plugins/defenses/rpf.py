"""RPF: random projection filters in the first convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import robuststack as rs
from robuststack_plugins.defenses.decay import decayed_apart

if TYPE_CHECKING:
    from torch import nn


class RandomProjectionFilters(rs.Defense):
    """Most filters of the first convolution are Gaussian and drawn anew in each forward pass; trained by PGD-AT.

    The paper has 48 of 64 filters random, a share of 0.75. In training the attacker sees one draw for the whole of an
    attack, and the network learns on another.
    """

    paper = (
        "Dong and Xu, Adversarial Robustness via Random Projection Filters, CVPR 2023; code:"
        " UniSerj/Random-Projection-Filters"
    )

    class Options(rs.Options):
        share: float = rs.option(
            0.75,
            "Share of the first convolution's filters that are random; at least one is, and not all are.",
            gt=0,
            lt=1,
            shown=True,
        )
        filter_weight_decay: float = rs.option(0.01, "Weight decay of that convolution's trained filters.", ge=0)

    def image_passes(self, steps: int) -> float:
        return 3.0 + 2.0 * steps

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.activation_noise import first_convolution
        from robuststack.layers.random_filters import RandomFiltersConv2d
        from robuststack.layers.roles import rewrite

        model = architecture.build(shape, num_classes)
        first = first_convolution(model, shape)
        if first.out_channels < 2:
            raise rs.PluginError("the first convolution has one filter, and random filters replace some of several")
        random = min(max(round(self.options.share * first.out_channels), 1), first.out_channels - 1)
        rewrite(model, type(first), lambda conv: RandomFiltersConv2d(first, random) if conv is first else conv)
        return model

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        from robuststack.layers.random_filters import RandomFiltersConv2d

        filters = [module.weight for module in model.modules() if isinstance(module, RandomFiltersConv2d)]
        return decayed_apart(model, weight_decay, filters, self.options.filter_weight_decay)

    def training_step(self, step: rs.TrainStep) -> None:
        """L = CE(adversarial), the attack on one draw of the filters and the loss on another."""
        from torch.nn import functional

        from robuststack.layers.random_filters import one_draw

        with one_draw(step.model):
            attacked = step.attack(self.view(step.model, rs.Setting()), step.x, step.y)
        adversarial = step.model(attacked)
        step.observe("ra", adversarial, step.y)
        step.backward(functional.cross_entropy(adversarial, step.y))

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting(stochastic=True)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is how the reference code scores: the attacker sees one draw of the filters, and another one is
        judged. There it is drawn for each batch; here one draw serves all images of an attack seed."""
        deployed = self.setting(point)
        published = rs.Scoring(clean=deployed, attacker=deployed, victim=deployed, bakes=1)
        return {**super().protocols(point), "published": published}
