"""Expectation over transformation (EOT): gradients and logits averaged over noise draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.margins import judged_margin
from robuststack.plugin.attack import Loss


def loss_gradient(model: AttackedModel, images: Tensor, y: Tensor, loss: Loss, draws: int) -> tuple[Tensor, Tensor]:
    """The gradient [N, C, H, W] of the loss, summed over the draws, and the last draw's logits [N, K]; of a mixture, the
    weighted sum and the logits of the weighted mean probabilities."""
    total: Tensor | None = None
    raw: Tensor | None = None
    seen: list[Tensor] = []
    passes = model.passes(draws)
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        for part, weight in passes:
            logits = part(point)
            # The sum, so that each sample's gradient does not depend on how many others are in the batch.
            (gradient,) = torch.autograd.grad(loss(logits, y).sum(), point)
            gradient = gradient if weight == 1 else weight * gradient
            seen.append(logits.detach())
            raw = gradient if raw is None else raw + gradient
            if model.tally is not None:
                # What is no number moves no pixel, and spoils no other draw; it is counted as a failure below.
                gradient = gradient.nan_to_num()
            total = gradient if total is None else total + gradient
    assert total is not None
    assert raw is not None
    logits = model.together(seen, [weight for _, weight in passes])
    if model.tally is not None:
        # A capped loss is flat where the model is fooled already, which is no masking.
        model.tally.watch(raw, logits.argmax(1) == y)
    return total, logits


@torch.no_grad()
def mean_logits(model: Callable[[Tensor], Tensor], x: Tensor, draws: int) -> Tensor:
    """The mean [N, K] of the logits over `draws` forward passes."""
    return torch.stack([model(x) for _ in range(draws)]).mean(0)


def mean_margin(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, draws: int) -> Tensor:
    """The margin [N] of the mean logits over `draws` forward passes: what attacks compare an image's candidates by."""
    return judged_margin(mean_logits(model, x, draws), y)
