"""A corruption as what a suite lists among its attacks, though nobody attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import robuststack as rs

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel

Name = Literal["gaussian_noise", "gaussian_blur", "contrast", "brightness", "pixelate", "jpeg"]


class Corruption(rs.Attack):
    """What happens to images without an attacker: a row keeps the accuracy under it, beside robust accuracy and not in it.

    The severities are those of CIFAR-10-C, for small images. The same draw of noise meets every model.
    """

    paper = (
        "Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR"
        " 2019, arXiv 1903.12261; constants: hendrycks/robustness, make_cifar_c.py"
    )
    natural = True
    needs_gradients = False
    norms = ("linf", "l2")

    class Options(rs.Options):
        corruption: Name = rs.option("gaussian_noise", "What happens to the images.")
        severity: int = rs.option(3, "From 1, slight, to 5, severe.", ge=1, le=5, shown=True)

    @property
    def label(self) -> str:
        return f"{self.options.corruption} {self.options.severity}"

    def figures(self, threat: rs.Threat, stochastic: bool) -> dict[str, Any]:
        return dict(self.options.resolved())

    def image_passes(self, stochastic: bool) -> float:
        return 0.0

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        from robuststack_plugins.corruptions.images import CORRUPTIONS

        return CORRUPTIONS[self.options.corruption](x, self.options.severity, generator).clamp(0, 1)
