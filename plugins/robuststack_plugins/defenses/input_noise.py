"""Gaussian noise on the image: randomised smoothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.pgd_at import PGDAdversarialTraining, lambda_option

if TYPE_CHECKING:
    from torch import nn


class InputNoise(PGDAdversarialTraining):
    """Each forward pass adds Gaussian noise of deviation sigma to the images; trained on images with such noise.

    The published classifier names the class that most draws name: that is the reading `majority R`. `lambda` trains on
    adversarial images too, as `pgd_at` does, through the noise.
    """

    paper = "Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019, arXiv 1902.02918"

    class Options(rs.Options):
        lambda_: float = lambda_option(0.0)
        sigma: float = rs.option(
            0.25, "Deviation of the noise in training, in the [0, 1] pixel range.", gt=0, le=2, shown=True
        )

    class Knobs(rs.Options):
        sigma: float = rs.option(
            0.25, "Deviation of the noise at deployment, in the [0, 1] pixel range; 0 is none.", ge=0, le=2
        )

    def operating_points(self) -> list[rs.Point]:
        return [{"sigma": share * self.options.sigma} for share in (0.0, 0.5, 1.0)]

    def reference_point(self) -> rs.Point:
        return {"sigma": self.options.sigma}

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.activation_noise import NoisyInput
        from robuststack.layers.condition import Condition, attach

        condition = Condition("noise")
        return attach(NoisyInput(architecture.build(shape, num_classes), condition), condition)

    def training_setting(self) -> rs.Setting:
        return self.setting({"sigma": self.options.sigma})

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"noise": point["sigma"]}, stochastic=point["sigma"] > 0)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is `adaptive`: the paper's own attack (its appendix) averages gradients over noise. Its headline is a
        radius that is certified for the vote, which no attack measures."""
        scorings = super().protocols(point)
        return {**scorings, "published": scorings["adaptive"]}
