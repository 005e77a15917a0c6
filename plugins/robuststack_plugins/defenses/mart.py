"""MART: adversarial training that looks at what is misclassified already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs

if TYPE_CHECKING:
    from torch import Tensor

MARGIN, TINY = 1.0001, 1e-12
"""Of the reference code: log(1.0001 - p + 1e-12) stands for log(1 - p)."""


class Mart(rs.Defense):
    """Boosted cross-entropy on adversarial images, and the divergence of predictions where the clean one is unsure."""

    paper = (
        "Wang et al., Improving Adversarial Robustness Requires Revisiting Misclassified Examples, ICLR 2020; code:"
        " YisenWang/MART"
    )

    class Options(rs.Options):
        lambda_: float = rs.option(5.0, "Weight of the divergence.", alias="lambda", gt=0, shown=True)

    def image_passes(self, steps: int) -> float:
        return 6.0 + 2.0 * steps

    def training_step(self, step: rs.TrainStep) -> None:
        """L = BCE(adversarial) + lambda KL(clean || adversarial) (1 - p_clean(y)), means over the batch; the attack climbs
        the cross-entropy from the clean image and 0.001 of a standard normal."""
        view = self.view(step.model, rs.Setting())
        attacked = step.attack(view, step.x, step.y, start="normal")
        clean, adversarial = view(step.x), view(attacked)
        step.observe("ca", clean, step.y)
        step.observe("ra", adversarial, step.y)
        step.backward(mart_loss(clean.float(), adversarial.float(), step.y, self.options.lambda_))


def mart_loss(clean: Tensor, adversarial: Tensor, y: Tensor, weight: float) -> Tensor:
    """Equation 11 of the paper, from logits [N, K] of clean and adversarial images and labels [N]: a scalar.

    BCE(z, y) = -log p_y - log(1 - max_{k != y} p_k).
    """
    import torch
    from torch.nn import functional

    probabilities, clean_probabilities = adversarial.softmax(1), clean.softmax(1)
    others = probabilities.scatter(1, y[:, None], -torch.inf).amax(1)
    boosted = functional.cross_entropy(adversarial, y) - torch.log(MARGIN - others + TINY).mean()
    right = clean_probabilities.gather(1, y[:, None]).squeeze(1)
    divergence = functional.kl_div(adversarial.log_softmax(1), clean_probabilities, reduction="none").sum(1)
    return boosted + weight * (divergence * (1 - right)).mean()
