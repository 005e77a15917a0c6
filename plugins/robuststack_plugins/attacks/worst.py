"""What attacks of several runs share: each image keeps the worst of all that they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from robuststack.engine.attack import judged_margin, mean_logits
from robuststack.engine.device import Fast

Run = Callable[[nn.Module, Tensor, Tensor], Iterable[Tensor]]
"""(model, images, labels) -> candidates, each a batch of adversarial images of that shape."""


@torch.no_grad()
def worst(runs: Sequence[Run], model: nn.Module, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Of itself and all that the runs find, each image keeps what has the largest margin over `draws` forward passes.

    The first run attacks every image. Of a deterministic model the later ones take only those that nothing has fooled yet,
    as AutoAttack does; of a randomised one they take all, since one success says little.
    """
    stochastic = bool(getattr(model, "stochastic", False))
    logits = mean_logits(model, x, draws)
    kept, hurt, open_ = x.clone(), judged_margin(logits, y), still_open(model, logits, y)
    for number, run in enumerate(runs):
        if stochastic or number == 0:
            left, narrowed = torch.arange(len(y), device=y.device), model
        else:
            left = open_.nonzero().flatten()
            if not len(left):
                break
            narrowed = model.take(left) if isinstance(model, Fast) else model
        images, labels = (x, y) if len(left) == len(y) else (x[left], y[left])
        for found in run(narrowed, images, labels):
            logits = mean_logits(narrowed, found, draws)
            # Gradients that are no numbers make images that are none.
            usable = torch.isfinite(found).flatten(1).all(1)
            margins = torch.where(usable, judged_margin(logits, labels), -torch.inf)
            better = margins > hurt[left]
            kept[left] = torch.where(better[:, None, None, None], found, kept[left])
            hurt[left] = torch.maximum(margins, hurt[left])
            open_[left] &= still_open(narrowed, logits, labels) | ~usable
    return kept


def still_open(model: nn.Module, logits: Tensor, y: Tensor) -> Tensor:
    """Which images [N] are right, or wrong by no more than the rounding of the precision the attack runs in."""
    slack = model.slack(logits) if isinstance(model, Fast) else 0.0
    margins = judged_margin(logits, y)
    return ~(margins > slack) | torch.isinf(margins)
