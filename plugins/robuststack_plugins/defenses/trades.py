"""TRADES: clean accuracy and smoothness of the predictions, traded by beta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.weight_perturbation import PASSES, PerturbedOptions, perturbed_weights

if TYPE_CHECKING:
    from torch import Tensor


class Trades(rs.Defense):
    """Cross-entropy on clean images plus beta times the divergence of the predictions on adversarial images from theirs.

    The attack climbs that divergence, from the clean image and 0.001 of a standard normal.
    """

    paper = (
        "Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019, arXiv 1901.08573;"
        " code: yaodongyu/TRADES"
    )

    class Options(PerturbedOptions):
        beta: float = rs.option(6.0, "Weight of the divergence: more is more robust.", gt=0, shown=True)

    def image_passes(self, steps: int) -> float:
        return 7.0 + 2.0 * steps + (2 * PASSES if self.options.awp else 0.0)

    def training_step(self, step: rs.TrainStep) -> None:
        """L = CE(clean) + beta KL(clean || adversarial), the latter a mean over the batch."""
        from torch.nn import functional

        view = self.view(step.model, rs.Setting())
        # The attack climbs the divergence from the clean predictions, in the mode it is judged in.
        was_training = step.model.training
        target = view.eval()(step.x).softmax(1).detach()
        view.train(was_training)
        attacked = step.attack(view, step.x, target, loss=_divergence, start="normal")

        def loss() -> tuple[Tensor, Tensor, Tensor]:
            clean, adversarial = view(step.x), view(attacked)
            smooth = _divergence(adversarial.float(), clean.float().softmax(1)).mean()
            return functional.cross_entropy(clean, step.y) + self.options.beta * smooth, clean, adversarial

        with perturbed_weights(step.model, self.options.awp, lambda: loss()[0]):
            total, clean, adversarial = loss()
            step.observe("ca", clean, step.y)
            step.observe("ra", adversarial, step.y)
            step.backward(total)


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """KL(target || softmax(logits)) of each sample [N]; both are [N, K]."""
    from torch.nn import functional

    return functional.kl_div(logits.log_softmax(1), target, reduction="none").sum(1)
