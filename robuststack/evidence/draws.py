"""How many draws an attack averages over: the smallest number that twice and four times as many do not improve on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

IMAGES = 500
"""Images of the probe, or all if there are fewer."""
CAP = 64
"""The most draws that are tried."""
ENOUGH = 0.01
"""A fall of at most one point is left."""
LEVEL = 0.9
"""Of the one-sided upper limit of a fall."""


def levels(cap: int = CAP) -> list[int]:
    """The numbers of draws that are tried: 1, 2, 4, ... up to the cap."""
    return [2**power for power in range(cap.bit_length()) if 2**power <= cap]


def enough(labels: Mapping[int, np.ndarray], truth: np.ndarray) -> int | None:
    """The smallest number m of draws for which the one-sided 90 % upper limits of the falls from m to 2m and from m to 4m
    are both at most one point; None if these numbers have none.

    `labels` [M, n] are those of the same images after attacks with each number of draws, on the same judging draws; `truth`
    is [n].
    """
    for draws in sorted(labels):
        further = [labels[times * draws] for times in (2, 4) if times * draws in labels]
        if len(further) == 2 and all(_limit(labels[draws], more, truth) <= ENOUGH for more in further):
            return draws
    return None


def _limit(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> float:
    from robuststack.evidence.decisions import fall, upper_limit

    return upper_limit(fall([before], [after], truth).estimate, len(truth), LEVEL)
