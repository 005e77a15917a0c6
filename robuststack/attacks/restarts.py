"""Of several runs of an attack, the worst for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.eot import mean_logits
from robuststack.attacks.margins import judged_margin, still_open

Run = Callable[[AttackedModel, Tensor, Tensor], Iterable[Tensor]]
"""(model, images, labels) -> candidates, each a batch of adversarial images of that shape."""


@torch.no_grad()
def worst(
    runs: Sequence[Run], model: AttackedModel, x: Tensor, y: Tensor, draws: int, *, narrow: bool = True
) -> Tensor:
    """Of itself and all candidates of the runs, each image keeps the one with the largest margin over `draws` forward
    passes.

    The first run attacks every image. If the model `settles`, later runs attack only images that nothing has fooled yet, as
    AutoAttack does, unless `narrow` is false. On a randomised model they attack all, since one success says little.
    """
    narrow = narrow and model.settles
    logits = mean_logits(model, x, draws)
    kept, best, undecided = x.clone(), judged_margin(logits, y), still_open(model, logits, y)
    for number, run in enumerate(runs):
        if narrow and number:
            left = undecided.nonzero().flatten()
            if not len(left):
                break
            attacked = model.subset(left)
        else:
            left, attacked = torch.arange(len(y), device=y.device), model
        images, labels = (x, y) if len(left) == len(y) else (x[left], y[left])
        for candidate in run(attacked, images, labels):
            logits = mean_logits(attacked, candidate, draws)
            # Gradients that are no numbers make images that are none.
            usable = torch.isfinite(candidate).flatten(1).all(1)
            margins = torch.where(usable, judged_margin(logits, labels), -torch.inf)
            better = margins > best[left]
            kept[left] = torch.where(better[:, None, None, None], candidate, kept[left])
            best[left] = torch.maximum(margins, best[left])
            undecided[left] &= still_open(attacked, logits, labels) | ~usable
    return kept
