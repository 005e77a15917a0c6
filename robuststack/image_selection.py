"""Which images of a split are taken, if not all are: chosen by their labels and a seed, so that every model and attack
sees the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

LimitRule = Literal["stratified", "first"]
LIMIT_SEED = 20220615
"""Of the rule, not of a run: two suites with the same limit score the same images."""
SAMPLE_SEED = 20220426
"""Of samples, not of a run: every check looks at the same images."""


def limited(labels: np.ndarray, limit: int | None, rule: LimitRule) -> np.ndarray:
    """The rows of at most `limit` images to score, in the order of the data: int64 [min(limit, N)].

    `stratified` takes each class in proportion to its images, `first` the first rows. `labels` are whole numbers [N].
    """
    import numpy as np

    if limit is None or limit >= len(labels) or rule == "first":
        return np.arange(len(labels))[:limit]
    return stratified(labels, limit, seed=LIMIT_SEED)


def sampled(labels: np.ndarray, count: int, *, besides: int = 0) -> np.ndarray:
    """The rows of a sample of `count` images, each class in proportion, drawn with a fixed seed: int64, sorted.

    With `besides` the sample is drawn from the images that the sample of that many images leaves: to confirm on others what
    was seen on those. All images that there are come back if `count` is more. `labels` are whole numbers [N].
    """
    import numpy as np

    rows = np.arange(len(labels))
    if besides:
        rows = np.setdiff1d(rows, sampled(labels, besides))
    if count >= len(rows):
        return rows
    return np.asarray(rows[stratified(labels[rows], count, seed=SAMPLE_SEED)])


def stratified(labels: np.ndarray, count: int, *, seed: int, leave: int = 0) -> np.ndarray:
    """`count` rows drawn at random, each class in proportion to its images, in the order of the data: int64, sorted.

    The shares are rounded by largest remainder, equal remainders in a random order of the classes. At least `leave` images
    of each class are not drawn; where that binds, fewer rows come back. `labels` are whole numbers [N], and `count` is at
    most N.
    """
    import numpy as np

    # The legacy generator's streams never change between NumPy versions.
    random = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(sizes * count, max(len(labels), 1))
    by_remainder = np.lexsort((random.permutation(len(classes)), -remainders))
    shares[by_remainder[: count - shares.sum()]] += 1
    shares = np.minimum(shares, np.maximum(sizes - leave, 0))
    drawn = [
        random.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))
