"""How often an image's draws named each class: all that a vote needs to know of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Counts = tuple[int, tuple[int, ...]]
"""How often an image's draws named its true class, and how often each wrong class that they named, sorted."""
IMAGES_AT_A_TIME = 4096


def class_counts(labels: np.ndarray, truth: np.ndarray) -> tuple[list[Counts], np.ndarray, np.ndarray]:
    """The distinct counts, which of them each image has [n], and how many draws named the class of each draw [M, n]."""
    draws, n = labels.shape
    sizes = np.empty((draws, n), dtype=np.int16)
    for start in range(0, n, IMAGES_AT_A_TIME):
        block = labels[:, start : start + IMAGES_AT_A_TIME]
        for draw in range(draws):
            sizes[draw, start : start + IMAGES_AT_A_TIME] = (block == block[draw]).sum(0, dtype=np.int16)
    # A class that s draws named stands s times in the sizes of the wrong draws: they tell the counts whole, and all that
    # are not wrong are right. Images are told apart by a sum of 64 random bits for each wrong draw's size: that two counts
    # share a sum has a chance of about 1 in 10^12.
    bits = np.random.default_rng(0).integers(1 << 63, size=draws + 1, dtype=np.uint64)
    keys = np.where(labels == truth, np.uint64(0), bits[sizes]).sum(0, dtype=np.uint64)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    right = labels[:, first] == truth[first]
    distinct = np.concatenate([right.sum(0)[None], np.sort(np.where(right, 0, sizes[:, first]), axis=0)]).T
    return [_counts(key) for key in distinct.tolist()], place.reshape(-1), sizes


def _counts(key: Sequence[int]) -> Counts:
    wrong: list[int] = []
    rest = [size for size in key[1:] if size]
    while rest:
        wrong.append(rest[0])
        rest = rest[rest[0] :]
    return key[0], tuple(wrong)


def one_fewer(wrong: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The wrong classes' counts without one draw of a class that `size` draws named."""
    left = list(wrong)
    left.remove(size)
    return tuple(sorted([*left, size - 1])) if size > 1 else tuple(left)


@lru_cache(maxsize=1 << 16)
def plurality(right: int, wrong: tuple[int, ...], votes: int) -> float:
    """The chance that the true class has the plurality of `votes` draws taken without replacement from counts, ties shared.

    Exact: for each number of votes for the true class, a polynomial product over the wrong classes counts the ways in which
    none has more, by how many of them have as many.
    """
    total = right + sum(wrong)
    ways = 0.0
    for own in range(1, min(right, votes) + 1):
        # left[r, t]: the ways to give r votes to the wrong classes so far, t of which tie with the true one.
        left = np.zeros((votes - own + 1, len(wrong) + 1))
        left[0, 0] = 1.0
        for count in wrong:
            nxt = np.zeros_like(left)
            for take in range(min(count, own, votes - own) + 1):
                weight = float(math.comb(count, take))
                tied = int(take == own)
                nxt[take:, tied:] += weight * left[: len(left) - take, : left.shape[1] - tied]
            left = nxt
        shares = 1.0 / np.arange(1, len(wrong) + 2)
        ways += math.comb(right, own) * float(left[votes - own] @ shares)
    return ways / math.comb(total, votes)
