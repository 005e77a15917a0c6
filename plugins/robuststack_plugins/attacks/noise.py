"""Random noise: no search at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel


class Noise(rs.Attack):
    """Uniform noise in the ball: the floor that every attack has to get below."""

    revision = 2  # The first compared samples with each other only, and sampled anew what was fooled already.
    paper = "Carlini et al., On Evaluating Adversarial Robustness, 2019, arXiv 1902.06705"
    needs_gradients = False
    norms = ("linf", "l2")

    class Options(rs.Options):
        samples: int = rs.option(
            1,
            "Noisy images tried; of several, and of itself, each image keeps the one with the largest margin.",
            ge=1,
            smoke=2,
        )
        draws: rs.Draws = rs.option(
            20,
            "Forward passes a sample's margin is averaged over, on randomised points; others use one; or `auto`.",
            smoke=2,
        )

    @property
    def label(self) -> str:
        samples = self.options.samples
        return f"Noise x{samples}" if samples > 1 else "Noise"

    def image_passes(self, stochastic: bool) -> float:
        # Several samples are compared with the clean image.
        samples = self.options.samples
        return float((1 + samples) * self.draws(stochastic)) if samples > 1 else 0.0

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        from robuststack.attacks import Ball, worst

        def sample(model: AttackedModel, x: Tensor, y: Tensor) -> list[Tensor]:
            ball = Ball.of(x, threat)
            return [ball.project(ball.random(generator))]

        samples = self.options.samples
        if samples == 1:
            return sample(model, x, y)[0]
        return worst([sample] * samples, model, x, y, self.draws(model.stochastic))
