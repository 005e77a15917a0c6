"""The figure of a row: the mean of a reading over images and seeds, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robuststack.evidence.estimate import Estimate
from robuststack.evidence.proportions import LEVEL, wilson
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.variance import Attacks, RunReading, of_runs, read_run
from robuststack.evidence.worst_attack import worst_over_attacks

Run = tuple[int, ...]
"""Training seed, attack seed and, if a baked draw stands for the model, the number of the draw."""
Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
FEW_SEEDS = 4
"""Up to so many seeds an interval holds the figure of each."""


@dataclass(frozen=True)
class SeedValue:
    """An accuracy, 0 to 1, without an interval, and the figure of every run."""

    value: float
    seeds: Mapping[Run, float]

    @property
    def units(self) -> list[float]:
        return seed_units(self.seeds)

    @property
    def spread(self) -> float | None:
        """The standard deviation over `units`; None for one run."""
        return float(np.std(self.units, ddof=1)) if len(self.units) > 1 else None


@dataclass(frozen=True)
class SeedFigure(SeedValue):
    """An accuracy with its 95 % interval."""

    low: float
    high: float
    interval: Literal["wilson", "t"]


def seed_units(seeds: Mapping[Run, float]) -> list[float]:
    """The figure of each training seed, as the mean over its runs: runs of one model are no models of their own. With a
    single training seed, that of each run."""
    models = sorted({train for train, *_ in seeds})
    if len(models) == 1:
        return list(seeds.values())
    return [float(np.mean([value for (train, *_), value in seeds.items() if train == model])) for model in models]


def measured(runs: Mapping[Run, Attacks], truth: np.ndarray, reading: Reading = EXPECTED) -> SeedFigure:
    """The figure of a row: labels [M, n] of each attack that the worst is taken over, for each run; truth [n].

    One deterministic model has Wilson's interval. Otherwise the interval is Student's, on the variance over seeds, images
    and judging draws (`variance.of_runs`), within 0 and 1. Over several seeds it has the shape of Wilson's: that of as many
    images as would give a share of this value so wide an interval (the effective sample size; Franco et al. 2019), since
    near 0 and 1 seeds can move the figure far in one direction only. It is never narrower than what n images cannot
    exclude: a limit lies no nearer to the value than z^2 more images, all of them wrong or all of them right, would move
    it, which for a value of 0 or 1 is Wilson's limit. Of two to four seeds it holds every figure. At a deterministic point
    every reading is the expected one: all answers are alike.

    Raises:
        TooFewDraws: there are too few draws for the reading, or for its interval.
    """
    draws = _draws(runs)
    asked = reading if draws > 1 else EXPECTED
    readings = {run: read_run(asked, attacks, truth) for run, attacks in runs.items()}
    seeds = {run: float(of_run.per_image.mean()) for run, of_run in readings.items()}
    estimate = of_runs(nested(readings))
    value, n = estimate.value, len(truth)
    if estimate.variance == 0 or (draws == 1 and len(runs) == 1):
        # If all outcomes are alike there is no variance to see, and n images still cannot exclude others.
        return SeedFigure(value, seeds, *wilson(round(value * n), n), "wilson")
    units = seed_units(seeds)
    low, high = estimate.interval(LEVEL) if len(units) == 1 else interval_over_seeds(estimate, n * len(units))
    kept = n / (n + Z**2)
    low, high = min(low, value * kept), max(high, 1 - (1 - value) * kept)
    if 1 < len(units) <= FEW_SEEDS:
        low, high = min(low, *units), max(high, *units)
    return SeedFigure(value, seeds, max(low, 0.0), min(high, 1.0), "t")


def interval_over_seeds(estimate: Estimate, most: int) -> tuple[float, float]:
    """Wilson's interval at the effective number of images, which is at most that of all readings."""
    share = estimate.value
    # Readings of votes may be 1 but for rounding.
    variance = max(share * (1 - share), 1e-9)
    effective = 1 / max((estimate.half_width(LEVEL) / Z) ** 2 / variance, 1 / most)
    return wilson(share * effective, effective)


def read(runs: Mapping[Run, Attacks], truth: np.ndarray, reading: Reading) -> SeedValue:
    """As `measured`, but a reading of more than half of the draws is a value without an interval.

    Raises:
        TooFewDraws: there are fewer draws than the reading takes.
    """
    draws = _draws(runs)
    if draws == 1 or reading.has_interval(draws):
        return measured(runs, truth, reading)
    seeds = {run: float(worst_over_attacks(reading, attacks, truth).mean()) for run, attacks in runs.items()}
    return SeedValue(float(np.mean(seed_units(seeds))), seeds)


def _draws(runs: Mapping[Run, Attacks]) -> int:
    return len(next(iter(runs.values()))[0])


def nested(readings: Mapping[Run, RunReading]) -> Sequence[Sequence[RunReading]]:
    """For each training seed its runs."""
    models = dict.fromkeys(train for train, *_ in readings)
    return [[run for (train, *_), run in readings.items() if train == model] for model in models]
