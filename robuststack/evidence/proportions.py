"""Shares of images: Wilson's interval of one, McNemar's exact test of two.

The formulas are those of `scipy.stats`, on the functions of `scipy.special` that it calls: to import the former takes
longer than all else that a finished audit does.
"""

from __future__ import annotations

import numpy as np

LEVEL = 0.95


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion, from 0 to 1 (Wilson 1927); n may be an effective number."""
    from scipy.special import ndtri

    z, share = float(ndtri((1 + LEVEL) / 2)), successes / n
    scale = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z / scale * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - half if successes else 0.0), (centre + half if successes < n else 1.0)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact test on paired outcomes, bool [n] each: the two-sided p-value of the images that only one gets
    right being as many on either side."""
    from scipy.special import bdtr

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    # Both tails are alike, and overlap if the counts are equal.
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def mcnemar_one_sided(difference: np.ndarray) -> float:
    """McNemar's exact test, one-sided: differences [n] of outcomes, 1 where only the first is right, -1 where only the
    second is; the chance of at least as many ones if both were as likely."""
    from scipy.special import bdtrc

    first, second = int((difference > 0).sum()), int((difference < 0).sum())
    return float(bdtrc(first - 1, first + second, 0.5)) if first else 1.0


def unseen(n: int, tail: float = (1 - LEVEL) / 2) -> float:
    """The share of images, 0 to 1, that n images of which none is so cannot exclude: the limit at probability `tail`."""
    return 1 - float(tail ** (1 / n))
