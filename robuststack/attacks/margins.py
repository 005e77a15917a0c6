"""How far an image is from the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best wrong class is above the right one, for each sample [N]: positive if the model is wrong.

    y: labels [N]; or what a training loss is held against, a share of each class [N, K]: its largest is the right one.
    """
    labels = (y if y.dim() == 1 else y.argmax(1))[:, None]
    right = logits.gather(1, labels)
    return (logits.scatter(1, labels, -torch.inf).max(1, keepdim=True).values - right).squeeze(1)


def names_class(logits: Tensor) -> Tensor:
    """Which logits [N, K] name a class [N]: no NaN among them, and a largest one that is finite. Others may be -inf, as a
    mask makes them."""
    # The largest of a row that holds a NaN is NaN.
    return torch.isfinite(logits.amax(1))


def judged_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The margin [N] as the host will judge it: logits that name no class are wrong, so nothing beats them: infinity."""
    return torch.where(names_class(logits), margin(logits, y), torch.inf)


def still_open(model: AttackedModel, logits: Tensor, y: Tensor) -> Tensor:
    """Which images [N] are right, or wrong by no more than the rounding of the precision the attack runs in."""
    margins = judged_margin(logits, y)
    return ~(margins > model.slack(logits)) | torch.isinf(margins)
