"""The fast gradient sign method, and the fast gradient method of other norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import robuststack as rs
from robuststack.attacks import Average
from robuststack_plugins.attacks.averaging import average_option

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.plugin.threat import Norm


class FGSM(rs.GradientAttack):
    """One step of length eps from the clean image, steepest in the norm (linf: the gradient's sign); no random start."""

    paper = "Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015"

    class Options(rs.Options):
        draws: rs.Draws = rs.option(
            20,
            "EOT: forward passes whose gradients are averaged, on randomised points; others use one; or `auto`.",
            smoke=2,
        )
        average: Average = average_option()

    @property
    def label(self) -> str:
        return "FGSM"

    def label_for(self, norms: Sequence[Norm]) -> str:
        return self.label if set(norms) == {"linf"} else "FGM"

    @property
    def steps(self) -> int:
        return 1

    def step_size(self, threat: rs.Threat) -> float:
        return threat.eps

    def start(self, x: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        return x
