"""What knowledge is worth to the attacker: one rung of the ladder against another, on the same models and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.estimate import Estimate, Part
from robuststack.evidence.proportions import LEVEL, unseen
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.variance import (
    Attacks,
    RunReading,
    images_part,
    jackknife,
    mean_of_parts,
    over_units,
    read_run,
    seeds_part,
)

Models = Sequence[Sequence[Attacks]]
"""For each training seed, the runs of its model: attack seeds and baked draws, each the labels [M, n] of every attack."""


@dataclass(frozen=True)
class Gap:
    """One rung's robust accuracy minus another's, 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float


def gap(first: Models, second: Models, truth: np.ndarray, reading: Reading = EXPECTED) -> Gap:
    """The first rung's figure, the worst over attacks, minus the second's; both judge the same models, seed by seed.

    V = s_img^2 / n of the paired images + s^2 / S of the paired training seeds + the draws' part, with the interval of
    `SeedsEstimate`. With one training seed, each rung of several runs adds their variance over their number in place of the
    seeds' part. Judging draws are paired if both rungs have as many: they are then the same.

    Raises:
        TooFewDraws: there are too few draws for the reading, or for its interval.
    """
    sides = [[[read_run(reading, run, truth) for run in runs] for runs in models] for models in (first, second)]
    means = [np.array([np.mean([run.per_image for run in runs], axis=0) for runs in models]) for models in sides]
    difference = means[0] - means[1]
    jackknifed = [_jackknifed(*pair) for pair in zip(*sides, strict=True)]
    draws = [mean_of_parts([parts[place] for parts in jackknifed]) for place in range(len(jackknifed[0]))]
    if len(difference) > 1:
        estimate: Estimate = over_units(difference, draws)
    else:
        runs = [np.array([run.per_image.mean() for run in models[0]]) for models in sides]
        of_runs = [seeds_part(figures) for figures in runs if len(figures) > 1]
        estimate = Estimate(float(difference[0].mean()), (images_part(difference[0]), *of_runs, *draws))
    if estimate.variance > 0:
        low, high = estimate.interval(LEVEL)
    else:
        # No image differs from another: what n images cannot exclude.
        half = unseen(len(truth))
        low, high = estimate.value - half, estimate.value + half
    return Gap(estimate.value, max(low, -1.0), min(high, 1.0))


def _jackknifed(first: Sequence[RunReading], second: Sequence[RunReading]) -> list[Part]:
    """What the judging draws of one model add: one part if they are the same on both sides, else one for each side."""
    left_out = [_left_out(runs) for runs in (first, second)]
    drawn = [values for values in left_out if values is not None]
    if len(drawn) == 2 and len(drawn[0]) == len(drawn[1]):
        return [jackknife(drawn[0] - drawn[1])]
    return [jackknife(values) for values in drawn]


def _left_out(runs: Sequence[RunReading]) -> np.ndarray | None:
    values = [run.left_out for run in runs if run.left_out is not None]
    return np.mean(values, axis=0) if values else None
