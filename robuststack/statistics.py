"""Differences of accuracies, with 95 % intervals, from per-sample outcomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from robuststack.evidence.proportions import LEVEL, mcnemar

RESAMPLES = 2000
SEED = 20220426


@lru_cache(maxsize=1)
def _image_weights(n: int) -> tuple[np.ndarray, dict[str, Any]]:
    """How much each of n images counts in each resample, and the random state after them: all rows of a leaderboard use
    the same resamples of images, which take most of the time."""
    random = np.random.RandomState(SEED)
    weights = random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    return weights, random.get_state(legacy=False)


def _replicas(runs: Sequence[Sequence[np.ndarray]], stochastic: bool, stream: int = 0) -> np.ndarray:
    """The accuracy, 0 to 1, in each resample: the same images for every caller, and noise draws of a stream of its own."""
    images, state = _image_weights(runs[0][0].shape[1])
    random = np.random.RandomState([SEED, stream])
    if stream == 0:
        random.set_state(state)
    total = np.zeros(RESAMPLES)
    for run in runs:
        worst: np.ndarray | None = None
        draws = len(run[0])
        # All attacks of a point are judged on the same noise draws, so their draws are resampled together: apart, the
        # minimum over attacks would fall in every replica.
        weights = (
            random.multinomial(draws, np.full(draws, 1 / draws), size=RESAMPLES) / draws
            if stochastic
            else np.full((1, draws), 1 / draws)
        )
        for outcomes in run:
            means = weights @ outcomes.astype(np.float64)
            worst = means if worst is None else np.minimum(worst, means)
        assert worst is not None
        total += np.einsum("rn,rn->r", np.broadcast_to(worst, images.shape), images)
    return np.asarray(total / len(runs))


@dataclass(frozen=True)
class Difference:
    """One accuracy minus another, in points, with its 95 % interval and, where images are paired and deterministic, the
    two-sided p-value of McNemar's exact test."""

    value: float
    low: float
    high: float
    p: float | None
    method: str

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval, and the test if there is one, exclude that both are alike."""
        if (self.low <= 0 <= self.high) or (self.p is not None and self.p >= 1 - LEVEL):
            return "no evidence"
        return "better" if self.value > 0 else "worse"


def paired(
    first: Sequence[Sequence[np.ndarray]], second: Sequence[Sequence[np.ndarray]], *, stochastic: tuple[bool, bool]
) -> Difference:
    """The second accuracy minus the first, on the same images: for each pair of seeds the outcomes of each attack,
    bool [draws, n].

    The interval resamples the images for both at once, and each one's noise draws by themselves.
    """
    before, after = (100 * float(np.mean([_worst(run) for run in runs])) for runs in (first, second))
    replicas = _replicas(second, stochastic[1], stream=1) - _replicas(first, stochastic[0])
    low, high = np.quantile(replicas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p = None
    if not any(stochastic) and len(first) == len(second) == 1:
        p = mcnemar(_worst(first[0]) > 0, _worst(second[0]) > 0)
    return Difference(after - before, 100 * float(low), 100 * float(high), p, "paired bootstrap")


class WithInterval(Protocol):
    """A value with its 95 % interval, such as a figure of a row."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def unpaired(first: WithInterval, second: WithInterval) -> Difference:
    """The second value minus the first, from their intervals alone (Newcombe 1998, method 10)."""
    low = math.hypot(second.value - second.low, first.high - first.value)
    high = math.hypot(second.high - second.value, first.value - first.low)
    value = second.value - first.value
    return Difference(value, value - low, value + high, None, "from both intervals")


def _worst(run: Sequence[np.ndarray]) -> np.ndarray:
    """Each image's outcome: its mean over draws, the minimum over attacks."""
    return np.asarray(np.min([outcomes.mean(0) for outcomes in run], axis=0))
