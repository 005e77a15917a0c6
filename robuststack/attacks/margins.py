"""How far an image is from the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best wrong class is above the right one, for each sample [N]: positive if the model is wrong."""
    right = logits.gather(1, y[:, None])
    return (logits.scatter(1, y[:, None], -torch.inf).max(1, keepdim=True).values - right).squeeze(1)


def judged_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The margin [N] as the host will judge it: logits that are not finite are wrong, so nothing beats them: infinity."""
    return torch.where(torch.isfinite(logits).all(1), margin(logits, y), torch.inf)


def still_open(model: AttackedModel, logits: Tensor, y: Tensor) -> Tensor:
    """Which images [N] are right, or wrong by no more than the rounding of the precision the attack runs in."""
    margins = judged_margin(logits, y)
    return ~(margins > model.slack(logits)) | torch.isinf(margins)
