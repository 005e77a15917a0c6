"""Accuracies and their differences, with 95 % intervals, from per-sample outcomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
SEED = 20220426


@dataclass(frozen=True)
class Estimate:
    """An accuracy in percent with its 95 % interval, and how the interval was made."""

    value: float
    low: float
    high: float
    method: str


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in percent."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def accuracy(runs: Sequence[Sequence[np.ndarray]], *, stochastic: bool) -> Estimate:
    """The accuracy, worst case over attacks, of one operating point.

    `runs` holds, for each pair of seeds, the outcomes of each attack: bool [draws, n], all on the same n images and judged
    on the same noise draws. An
    image's outcome is its mean over draws, then the minimum over attacks, never over draws; the figure is the mean over
    images, then over runs. A single deterministic run gets Wilson's interval. Otherwise images, and with randomised
    points draws too, are resampled: one draw of weight noise serves a whole batch, so outcomes that share a draw are not
    independent.
    """
    per_image = np.stack([_worst(run) for run in runs])
    n = per_image.shape[1]
    value = 100 * float(per_image.mean())
    if len(runs) == 1 and not stochastic:
        return Estimate(value, *wilson(int(per_image.sum()), n), "wilson")
    replicas = _replicas(runs, stochastic)
    if np.ptp(replicas) < 1e-9:
        # All outcomes alike: resampling cannot see what n images cannot exclude.
        return Estimate(value, *wilson(round(value / 100 * n), n), "wilson")
    low, high = np.quantile(replicas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.clip([100 * low, 100 * high], 0, 100)  # Rounding in the last place.
    return Estimate(value, float(low), float(high), "bootstrap")


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


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact test on paired outcomes, bool [n] each: the two-sided p-value of the images that only one gets
    right being as many on either side."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def paired(
    first: Sequence[Sequence[np.ndarray]], second: Sequence[Sequence[np.ndarray]], *, stochastic: tuple[bool, bool]
) -> Difference:
    """The second accuracy minus the first, on the same images: runs as `accuracy` takes them.

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
    """A value with its 95 % interval, such as an `Estimate` or a figure of a row."""

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
