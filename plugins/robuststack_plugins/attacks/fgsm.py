"""The fast gradient sign method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs

if TYPE_CHECKING:
    from torch import Generator, Tensor


class FGSM(rs.GradientAttack):
    """One step of length eps along the sign of the gradient at the clean image: no random start."""

    paper = "Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015"

    class Options(rs.Options):
        draws: int = rs.option(
            20,
            "EOT: forward passes whose gradients are averaged, on randomised points; others use one.",
            ge=1,
            smoke=2,
        )

    @property
    def label(self) -> str:
        return "FGSM"

    @property
    def steps(self) -> int:
        return 1

    def draws(self, stochastic: bool) -> int:
        return int(self.options.draws) if stochastic else 1

    def step_size(self, threat: rs.Threat) -> float:
        return threat.eps

    def start(self, x: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        return x
