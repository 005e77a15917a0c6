"""One figure of a row by one reading, with what comparisons, fronts and intervals need of it: made once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.readings import EXPECTED, Reading, worst_over_attacks, worst_without_each_draw
from robuststack.evidence.variance import Attacks, Part, mean_of_parts


@dataclass(frozen=True)
class RowReading:
    """A figure from 0 to 1, the mean over training seeds, and where it may vary."""

    per_image: np.ndarray
    """The mean over models and attack seeds, [n]."""
    seeds: tuple[float, ...]
    """The figure of each training seed's model."""
    draws: tuple[np.ndarray, ...] = ()
    """For each randomised run, how far the figure moves with each of its judging draws [M]: the jackknife's deviations, so
    that the sum of their squares is the variance that this run adds. Empty at a deterministic point."""

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

    Attack seeds are judged on draws of their own; a model's figure is their mean.

    Raises:
        TooFewDraws: there are too few draws for the reading or for its interval.
    """
    per_image = np.array(
        [np.mean([worst_over_attacks(reading, run, truth) for run in runs], axis=0) for runs in models]
    )
    draws = []
    for runs in models:
        for run in runs:
            count = len(run[0])
            if count > 1:
                left_out = worst_without_each_draw(reading, run, truth).mean(1)
                moved = (left_out - left_out.mean()) * np.sqrt((count - 1) / count)
                draws.append(moved / (len(models) * len(runs)))
    return RowReading(per_image.mean(0), tuple(map(float, per_image.mean(1))), tuple(draws))
