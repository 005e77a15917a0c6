"""FGSM from a random start, projected to the ball: the training attack of fast adversarial training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.attacks.fgsm import FGSM

if TYPE_CHECKING:
    from torch import Generator, Tensor


class FGSMRS(FGSM):
    """One step of 1.25 eps from a uniform start in the ball, projected to the ball: FGSM-RS.

    As a training attack it costs one gradient. Above a radius that depends on the data it overfits catastrophically, as
    FGSM without a random start does sooner; `n_fgsm` lasts longer.
    """

    paper = "Wong et al., Fast Is Better Than Free: Revisiting Adversarial Training, ICLR 2020, arXiv 2001.03994"

    own_start = True

    class Options(FGSM.Options):
        step: float = rs.option(1.25, "The length of the step, in radii.", gt=0, le=2)

    @property
    def label(self) -> str:
        return "FGSM-RS"

    def label_for(self, norms: object) -> str:
        return self.label

    def step_size(self, threat: rs.Threat) -> float:
        return float(self.options.step) * threat.eps

    def start(self, x: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        from robuststack.attacks import uniform_start

        return uniform_start(x, threat, generator)
