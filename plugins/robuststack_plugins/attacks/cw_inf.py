"""The margin loss of Carlini and Wagner in the ball of a threat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.attacks.pgd import PGD

if TYPE_CHECKING:
    from torch import Tensor


class CWInf(PGD):
    """Projected gradient descent on the margin of the best wrong class over the right one, capped at kappa.

    An image whose margin is past kappa has no gradient and stays where it is.
    """

    paper = "Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017"
    title = "CW"

    class Options(PGD.Options):
        kappa: float = rs.option(
            0.0,
            "The margin, in logits, beyond which nothing is gained; the literature also has 50 with 30 steps.",
            ge=0,
        )

    @property
    def label(self) -> str:
        kappa = self.options.kappa
        return f"{super().label} kappa={kappa:g}" if kappa else super().label

    @property
    def early_stop(self) -> bool:
        # A margin is to be reached, not just an error.
        return super().early_stop and not self.options.kappa

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        import torch

        from robuststack.attacks import margin

        # Not `clamp`, which has no gradient at kappa itself either: logits of 8 bits often tie.
        reached = margin(logits, y)
        return torch.where(reached > self.options.kappa, float(self.options.kappa), reached)
