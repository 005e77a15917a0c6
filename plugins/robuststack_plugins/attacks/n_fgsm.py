"""FGSM from noise beyond the ball, not projected: a training attack of one step that overfits late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.attacks.fgsm import FGSM

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel, Loss, Start


class NFGSM(FGSM):
    """Noise uniform in a ball of `noise` times eps, one step of eps from there, clipped to [0, 1] and not to the ball.

    It trains only: its images may be up to (noise + 1) eps from the clean ones.
    """

    paper = "de Jorge et al., Make Some Noise: Reliable and Efficient Single-Step Adversarial Training, NeurIPS 2022, arXiv 2202.01181"  # noqa: E501
    training_only = True
    own_start = True

    class Options(rs.Options):
        noise: float = rs.option(2.0, "The radius of the noise, in radii of the threat model.", ge=0, le=8)
        draws: int = rs.option(1, "EOT: forward passes whose gradients are averaged, at randomised settings.", ge=1)

    @property
    def label(self) -> str:
        return "N-FGSM"

    def label_for(self, norms: object) -> str:
        return self.label

    def start(self, x: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        from robuststack.attacks import Ball

        return x + float(self.options.noise) * (Ball.of(x, threat).random(generator) - x)

    def perturb(
        self,
        model: AttackedModel,
        x: Tensor,
        y: Tensor,
        threat: rs.Threat,
        generator: Generator,
        *,
        loss: Loss | None = None,
        start: Start | None = None,
        early_stop: bool = True,
    ) -> Tensor:
        """Not the host's loop, which projects every iterate to the ball."""
        from robuststack.attacks import Ball, loss_gradient

        noisy = (start or self.start)(x, threat, generator).clamp(0, 1)
        gradient, _ = loss_gradient(model, noisy, y, loss or self.loss, self.draws(model.stochastic))
        return (noisy + self.step_size(threat) * Ball.of(x, threat).steepest(gradient)).clamp(0, 1)
