"""Of several runs of an attack, the worst for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.eot import mean_logits
from robuststack.attacks.margins import judged_margin, still_open

Run = Callable[[nn.Module, Tensor, Tensor], Iterable[Tensor]]
"""(model, images, labels) -> candidates, each a batch of adversarial images of that shape."""


@torch.no_grad()
def worst(runs: Sequence[Run], model: nn.Module, x: Tensor, y: Tensor, draws: int, *, narrow: bool = True) -> Tensor:
    """Of itself and all that the runs find, each image keeps what has the largest margin over `draws` forward passes.

    The first run attacks every image. Where the model `settles`, later ones take only those that nothing has fooled yet, as
    AutoAttack does, unless `narrow` is false; of a randomised model they take all, since one success says little.
    """
    narrow = narrow and (model.settles if isinstance(model, AttackedModel) else not getattr(model, "stochastic", False))
    logits = mean_logits(model, x, draws)
    kept, hurt, open_ = x.clone(), judged_margin(logits, y), still_open(model, logits, y)
    for number, run in enumerate(runs):
        if narrow and number:
            left = open_.nonzero().flatten()
            if not len(left):
                break
            narrowed = model.subset(left) if isinstance(model, AttackedModel) else model
        else:
            left, narrowed = torch.arange(len(y), device=y.device), model
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
