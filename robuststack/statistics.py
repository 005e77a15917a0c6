"""Accuracies with their 95 % intervals, from per-sample outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
SEED = 20220426


@dataclass(frozen=True)
class Figure:
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


def accuracy(runs: Sequence[Sequence[np.ndarray]], *, stochastic: bool) -> Figure:
    """The accuracy, worst case over attacks, of one operating point.

    `runs` holds, for each pair of seeds, the outcomes of each attack: bool [draws, n], all on the same n images and judged
    on the same noise draws. An
    image's outcome is its mean over draws, then the minimum over attacks, never over draws; the figure is the mean over
    images, then over runs. A single deterministic run gets Wilson's interval. Otherwise images, and with randomised
    points draws too, are resampled: one draw of weight noise serves a whole batch, so outcomes that share a draw are not
    independent.
    """
    per_image = np.stack([np.min([one.mean(0) for one in run], axis=0) for run in runs])
    n = per_image.shape[1]
    value = 100 * float(per_image.mean())
    if len(runs) == 1 and not stochastic:
        return Figure(value, *wilson(int(per_image.sum()), n), "wilson")
    replicas = _replicas(runs, stochastic)
    if np.ptp(replicas) < 1e-9:
        # All outcomes alike: resampling cannot see what n images cannot exclude.
        return Figure(value, *wilson(round(value / 100 * n), n), "wilson")
    low, high = np.quantile(replicas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.clip([100 * low, 100 * high], 0, 100)  # Rounding in the last place.
    return Figure(value, float(low), float(high), "bootstrap")


@lru_cache(maxsize=1)
def _image_weights(n: int) -> tuple[np.ndarray, dict[str, Any]]:
    """How much each of n images counts in each resample, and the random state after them: all rows of a leaderboard use
    the same resamples of images, which take most of the time."""
    random = np.random.RandomState(SEED)
    weights = random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    return weights, random.get_state(legacy=False)


def _replicas(runs: Sequence[Sequence[np.ndarray]], stochastic: bool) -> np.ndarray:
    images, state = _image_weights(runs[0][0].shape[1])
    random = np.random.RandomState()
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
