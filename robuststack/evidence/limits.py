"""One-sided limits of a share and of an accuracy, for checks that ask whether a figure is surely above something."""

from __future__ import annotations

import numpy as np

from robuststack.evidence.proportions import LEVEL
from robuststack.evidence.variance import of_model


def share_lower_limit(count: int, n: int) -> float:
    """The one-sided 95 % lower limit of a share, 0 to 1, exact: `count` of `n` (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    return float(betaincinv(count, n - count + 1, 1 - LEVEL)) if count else 0.0


def share_upper_limit(count: int, n: int) -> float:
    """The one-sided 95 % upper limit of a share, exact too."""
    return 1 - share_lower_limit(n - count, n)


def lower_limit(labels: np.ndarray, truth: np.ndarray) -> float:
    """The one-sided 95 % lower limit of the expected accuracy, 0 to 1: labels [M, n], truth [n]."""
    if len(labels) == 1:
        return share_lower_limit(int((labels == truth).sum()), len(truth))
    estimate = of_model([labels], truth)
    return max(estimate.value - estimate.quantile(LEVEL), 0.0)
