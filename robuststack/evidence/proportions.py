"""Shares of images: Wilson's interval of one, McNemar's exact test of two."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion, from 0 to 1 (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact test on paired outcomes, bool [n] each: the two-sided p-value of the images that only one gets
    right being as many on either side."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def mcnemar_one_sided(difference: np.ndarray) -> float:
    """McNemar's exact test, one-sided: differences [n] of outcomes, 1 where only the first is right, -1 where only the
    second is; the chance of at least as many ones if both were as likely."""
    from scipy.stats import binom

    first, second = int((difference > 0).sum()), int((difference < 0).sum())
    return float(binom.sf(first - 1, first + second, 0.5)) if first + second else 1.0


def unseen(n: int, tail: float = (1 - LEVEL) / 2) -> float:
    """The share of images, 0 to 1, that n images of which none is so cannot exclude: the limit at probability `tail`."""
    return 1 - float(tail ** (1 / n))
