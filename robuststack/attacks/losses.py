"""Losses that attacks climb: (logits [N, K], labels [N]) -> the loss of each sample [N]."""

from __future__ import annotations

from torch import Tensor, nn

from robuststack.attacks.margins import margin


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy [N]; `y` may hold probabilities [N, K] too."""
    return nn.functional.cross_entropy(logits, y, reduction="none")


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference of logits ratio [N]: the margin over the distance from the largest logit to the third largest.

    It needs three classes (Croce and Hein, ICML 2020, equation 6).
    """
    highest = logits.topk(3).values
    return margin(logits, y) / (highest[:, 0] - highest[:, 2] + 1e-12)
