"""Random noise: no search at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import robuststack as rs

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class Noise(rs.Attack):
    """Uniform noise in the ball: the floor that every attack has to get below."""

    paper = "Carlini et al., On Evaluating Adversarial Robustness, 2019, arXiv 1902.06705"
    needs_gradients = False

    class Options(rs.Options):
        samples: int = rs.option(
            1, "Noisy images tried; each image keeps the one with the largest margin.", ge=1, smoke=2
        )
        draws: int = rs.option(
            20,
            "Forward passes a sample's margin is averaged over, on randomised points; others use one.",
            ge=1,
            smoke=2,
        )

    @property
    def label(self) -> str:
        samples = self.options.samples
        return f"Noise x{samples}" if samples > 1 else "Noise"

    def draws(self, stochastic: bool) -> int:
        return int(self.options.draws) if stochastic else 1

    def figures(self, threat: rs.Threat, stochastic: bool) -> dict[str, Any]:
        return {**super().figures(threat, stochastic), "draws": self.draws(stochastic)}

    def image_passes(self, stochastic: bool) -> float:
        samples = self.options.samples
        return float(samples * self.draws(stochastic)) if samples > 1 else 0.0

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        import torch

        from robuststack.attacks.ball import project
        from robuststack.attacks.eot import mean_margin
        from robuststack.attacks.starts import uniform_start

        kept = project(uniform_start(x, threat, generator), x, threat)
        if self.options.samples == 1:
            return kept
        draws = self.draws(bool(getattr(model, "stochastic", False)))
        hurt = mean_margin(model, kept, y, draws)
        for _ in range(self.options.samples - 1):
            noisy = project(uniform_start(x, threat, generator), x, threat)
            found = mean_margin(model, noisy, y, draws)
            kept = torch.where((found > hurt)[:, None, None, None], noisy, kept)
            hurt = torch.maximum(found, hurt)
        return kept
