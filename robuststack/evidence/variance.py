"""How sure a figure is: the variance of a reading over images, judging draws and training seeds.

Two parts of one model: var(per-image readings) / n, and the leave-one-draw-out jackknife over draw columns, since one draw
is shared by the images of a block. Over training seeds, their variance comes on top. Resampling draws with replacement is
wrong for votes and repeated tries: a draw that stands twice biases them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.estimate import Estimate, Part, SeedsEstimate
from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws
from robuststack.evidence.worst_attack import worst_over_attacks, worst_without_each_draw

Attacks = Sequence[np.ndarray]
"""Labels [M, n] of each attack that the worst is taken over, on the same judging draws; a single one for one attack."""


def jackknife(left_out: np.ndarray) -> Part:
    """The variance of a figure from its values with each of M draws left out [M]: (M - 1) / M times the sum of squares."""
    draws = len(left_out)
    if draws < 2:
        return Part(0.0, np.inf)
    spread = float(((left_out - left_out.mean()) ** 2).sum())
    return Part((draws - 1) / draws * spread, draws - 1)


def images_part(per_image: np.ndarray) -> Part:
    """The variance that the choice of n images gives their mean: per-image readings or differences [n]."""
    n = len(per_image)
    return Part(float(per_image.var(ddof=1)) / n, n - 1) if n > 1 else Part(0.0, np.inf)


def seeds_part(figures: np.ndarray) -> Part:
    """The variance that the choice of two seeds or more gives the mean of their figures, or of their differences."""
    return Part(float(figures.var(ddof=1)) / len(figures), len(figures) - 1)


def shared_noise(readings: np.ndarray) -> float:
    """The variance that the noise of each image under each of two seeds or more gives the mean of readings [S, n]: their
    interaction's mean square over S n (the two-way layout without replicates)."""
    seeds, n = readings.shape
    if n < 2:
        return 0.0
    left = readings - readings.mean(0) - readings.mean(1, keepdims=True) + readings.mean()
    return float((left**2).sum() / ((seeds - 1) * (n - 1)) / (seeds * n))


def over_units(readings: np.ndarray, draws: Sequence[Part] = ()) -> SeedsEstimate:
    """The mean of readings [S, n] of two seeds or more, or of their differences, with what judging draws add.

    V = s^2 / S of the seeds + s_img^2 / n of the images' means + the draws' parts.
    """
    per_image = readings.mean(0)
    images, seeds = images_part(per_image), seeds_part(readings.mean(1))
    twice = min(shared_noise(readings), images.variance)
    return SeedsEstimate(float(per_image.mean()), (images, *draws, seeds), seeds, twice)


@dataclass(frozen=True)
class RunReading:
    """What a reading says of one model under one attack seed."""

    per_image: np.ndarray
    """float [n], 0 to 1: the worst over attacks."""
    left_out: np.ndarray | None
    """The mean over images with each judging draw left out in turn [M]; None at a deterministic point."""


def read_run(reading: Reading, attacks: Attacks, truth: np.ndarray) -> RunReading:
    """The readings of one run.

    Raises:
        TooFewDraws: there are too few draws for the reading, or, above half of them, for its interval.
    """
    draws = len(attacks[0])
    if draws > 1 and not reading.has_interval(draws):
        reading.check(draws)
        wanted = f"set evaluate.draws to {reading.draws_wanted}"
        raise TooFewDraws(f"{reading} of {draws} draws has no interval; {wanted}")
    per_image = worst_over_attacks(reading, attacks, truth)
    left_out = worst_without_each_draw(reading, attacks, truth).mean(1) if draws > 1 else None
    return RunReading(per_image, left_out)


def of_runs(models: Sequence[Sequence[RunReading]]) -> Estimate:
    """The figure over training seeds, each with the runs of its attack seeds, all on the same images.

    V = s^2 / S + s_img^2 / n + the draws' part. s is the standard deviation over the S training seeds, each the mean of its
    attack seeds; s_img is that of the images' mean readings. With one training seed, s and S are those of its attack
    seeds, since two of them tell as little; with one run there is no such part, and no `SeedsEstimate`. A draw is left out
    of all attack seeds of a model at once, which is right whether they share their draws or not.
    """
    of_models = [np.mean([run.per_image for run in runs], axis=0) for runs in models]
    left_out = [[run.left_out for run in runs if run.left_out is not None] for runs in models]
    draws = [jackknife(np.mean(runs, axis=0)) for runs in left_out if runs]
    parts = [mean_of_parts(draws)] if draws else []
    units = of_models if len(models) > 1 else [run.per_image for run in models[0]]
    if len(units) > 1:
        return over_units(np.array(units), parts)
    return Estimate(float(units[0].mean()), (images_part(units[0]), *parts))


def of_model(attacks: Attacks, truth: np.ndarray, reading: Reading = EXPECTED) -> Estimate:
    """The figure of one model: the mean over images of its reading, the worst over attacks.

    Raises:
        TooFewDraws: there are too few draws for the reading, or, above half of them, for its interval.
    """
    return over_seeds([attacks], truth, reading)


def over_seeds(models: Sequence[Attacks], truth: np.ndarray, reading: Reading = EXPECTED) -> Estimate:
    """The figure over training seeds: models trained with different seeds, judged on the same images (`of_runs`).

    Raises:
        TooFewDraws: there are too few draws for the reading, or, above half of them, for its interval.
    """
    return of_runs([[read_run(reading, attacks, truth)] for attacks in models])


def mean_of_parts(parts: Sequence[Part]) -> Part:
    """The variance of the mean of independent figures, each with its own part."""
    variance = sum(part.variance for part in parts) / len(parts) ** 2
    lower = sum((part.variance / len(parts) ** 2) ** 2 / part.freedom for part in parts if part.variance > 0)
    return Part(variance, variance**2 / lower if lower > 0 else np.inf)
