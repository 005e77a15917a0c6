"""Intervals and one-sided limits of a figure of audited images.

Wilson's if outcomes are right or wrong, Student's on the variance of images, draws and seeds otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robuststack.evidence.readings import EXPECTED, worst_over_attacks
from robuststack.evidence.variance import Attacks, of_model, over_seeds

LEVEL = 0.95


def share_interval(count: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's two-sided interval of a share, 0 to 1: `count` of `n` (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def share_lower_limit(count: int, n: int, level: float = LEVEL) -> float:
    """The one-sided lower limit of a share, 0 to 1, exact: `count` of `n` (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    return float(binomtest(count, n, alternative="greater").proportion_ci(level).low)


def lower_limit(labels: np.ndarray, truth: np.ndarray, level: float = LEVEL) -> float:
    """The one-sided lower limit of the expected accuracy, 0 to 1: labels [M, n], truth [n]."""
    if len(labels) == 1:
        return share_lower_limit(int((labels == truth).sum()), len(truth), level)
    estimate = of_model([labels], truth)
    return max(estimate.value - estimate.quantile(level), 0.0)


def figure(models: Sequence[Attacks], truth: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """The worst case over attacks and its two-sided interval, 0 to 1: labels of each training seed's attacks, truth [n]."""
    per_image = [worst_over_attacks(EXPECTED, attacks, truth) for attacks in models]
    value = float(np.mean(per_image))
    if len(models) == 1 and len(models[0][0]) == 1:
        return value, *share_interval(int(per_image[0].sum()), len(truth), level)
    estimate = over_seeds(models, truth)
    if estimate.variance == 0:  # All outcomes alike: what the images cannot exclude is left.
        return value, *share_interval(round(value * len(truth)), len(truth), level)
    low, high = estimate.interval(level)
    return value, max(low, 0.0), min(high, 1.0)
