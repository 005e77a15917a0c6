"""Random resizing and padding of the image: noise that sits on no weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.pgd_at import PGDAdversarialTraining, lambda_option

if TYPE_CHECKING:
    from torch import nn


class RandomResize(PGDAdversarialTraining):
    """Each forward pass resizes the images to a random size and pads them with zeros at a random place.

    The published defense wraps a network that was trained without it, on images of 299 x 299 pixels. A network for small
    images needs `resized`, which trains through it: on 8 x 8 digits a network that was not loses nearly all of its clean
    accuracy. `lambda` trains on adversarial images as `pgd_at` does. The network has to take images of other sizes, which
    those that end in a global pooling do.
    """

    paper = (
        "Xie et al., Mitigating Adversarial Effects Through Randomization, ICLR 2018, arXiv 1711.01991; code:"
        " cihangxie/NIPS2017_adv_challenge_defense"
    )

    class Options(rs.Options):
        lambda_: float = lambda_option(0.0)
        resized: bool = rs.option(
            False, "Train through the random resizing; false trains the network alone, as published.", shown=True
        )

    class Knobs(rs.Options):
        largest: float = rs.option(
            1.125, "The largest size, as a multiple of the image's; 1 leaves the image alone.", ge=1, le=2
        )  # fmt: skip

    def operating_points(self) -> list[rs.Point]:
        return [{"largest": 1.0}, {"largest": 1.125}]

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition
        from robuststack_plugins.defenses.resizing import RandomResize as Resizing

        return Resizing(architecture.build(shape, num_classes), Condition("largest"))

    def training_setting(self) -> rs.Setting:
        return self.setting({"largest": 1.125 if self.options.resized else 1.0})

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"largest": point["largest"]}, stochastic=point["largest"] > 1)

    def quiet(self, setting: rs.Setting) -> rs.Setting | None:
        """The network alone, which is the attacker of the paper's headline."""
        return rs.Setting({"largest": 1.0}) if setting.stochastic else None

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is the paper's headline, its vanilla attack: the attacker knows the network and nothing of the random
        layers before it. It is the rung `off` of the ladder."""
        deployed = self.setting(point)
        published = rs.Scoring(clean=deployed, attacker=self.quiet(deployed) or deployed, victim=deployed)
        return {**super().protocols(point), "published": published}
