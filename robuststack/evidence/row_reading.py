"""One figure of a row by one reading, with what comparisons, fronts and intervals need of it: made once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robuststack.evidence.estimate import Part
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.variance import Attacks, mean_of_parts, read_run


@dataclass(frozen=True)
class RowReading:
    """A figure from 0 to 1, the mean over training seeds, and where it may vary."""

    models: np.ndarray
    """The reading of each image by each training seed's model, the mean over its attack seeds [S, n]."""
    draws: tuple[np.ndarray, ...] = ()
    """For each randomised model, how far the figure moves with each of its judging draws [M]: the jackknife's deviations,
    so that the sum of their squares is the variance that this model adds. Empty at a deterministic point."""

    @cached_property
    def per_image(self) -> np.ndarray:
        """The mean over models, [n]."""
        return np.asarray(self.models.mean(0))

    @cached_property
    def seeds(self) -> tuple[float, ...]:
        """The figure of each training seed's model."""
        return tuple(map(float, self.models.mean(1)))

    @property
    def value(self) -> float:
        return float(np.mean(self.seeds))

    @property
    def draws_part(self) -> Part | None:
        """What all judging draws add to the variance; None at a deterministic point."""
        if not self.draws:
            return None
        parts = [Part(float((moved**2).sum()) * len(self.draws) ** 2, len(moved) - 1) for moved in self.draws]
        return mean_of_parts(parts)


def read_row(models: Sequence[Sequence[Attacks]], truth: np.ndarray, reading: Reading = EXPECTED) -> RowReading:
    """The reading of a row: for each training seed's model the labels of each attack seed, all on the same images [n].

    A model's figure is the mean over its attack seeds. A draw is left out of all of them at once, which is right whether
    they share their draws or not.

    Raises:
        TooFewDraws: there are too few draws for the reading or for its interval.
    """
    readings = [[read_run(reading, run, truth) for run in runs] for runs in models]
    of_models = np.array([np.mean([run.per_image for run in runs], axis=0) for runs in readings])
    draws = []
    for runs in readings:
        randomised = [run.left_out for run in runs if run.left_out is not None]
        if randomised:
            left_out = np.mean(randomised, axis=0)
            count = len(left_out)
            draws.append((left_out - left_out.mean()) * np.sqrt((count - 1) / count) / len(models))
    return RowReading(of_models, tuple(draws))
