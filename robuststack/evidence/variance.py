"""How sure a figure is: the variance of a reading over images, judging draws and training seeds.

Two parts of one model: var(per-image readings) / n, and the leave-one-draw-out jackknife over draw columns, since one draw
is shared by the images of a block. Over training seeds, their variance comes on top. Intervals are Student's, with the
degrees of freedom of Satterthwaite. Resampling draws with replacement is wrong for votes and repeated tries: a draw that
stands twice biases them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws, worst_over_attacks, worst_without_each_draw

Attacks = Sequence[np.ndarray]
"""Labels [M, n] of each attack that the worst is taken over, on the same judging draws; a single one for one attack."""


@dataclass(frozen=True)
class Part:
    """A variance, and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A mean of readings, 0 to 1, with the parts of its variance."""

    value: float
    parts: tuple[Part, ...]

    @property
    def variance(self) -> float:
        return sum(part.variance for part in self.parts)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of the sum of the parts."""
        lower = sum(part.variance**2 / part.freedom for part in self.parts if part.variance > 0)
        return self.variance**2 / lower if lower > 0 else np.inf

    def quantile(self, share: float) -> float:
        """How far above the value the one-sided limit of this level lies."""
        from scipy.stats import t

        return float(t.ppf(share, min(self.freedom, 1e9))) * float(np.sqrt(self.variance))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided interval, 0 to 1 not enforced."""
        half = self.quantile((1 + level) / 2)
        return self.value - half, self.value + half

    def p_above(self, bound: float = 0.0) -> float:
        """The one-sided p-value of the value being above `bound` by chance."""
        from scipy.stats import t

        if self.variance == 0:
            return 0.0 if self.value > bound else 1.0
        return float(t.sf((self.value - bound) / np.sqrt(self.variance), min(self.freedom, 1e9)))


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


def of_model(attacks: Attacks, truth: np.ndarray, reading: Reading = EXPECTED) -> Estimate:
    """The figure of one model: the mean over images of its reading, the worst over attacks.

    Raises:
        TooFewDraws: there are too few draws for the reading, or, above half of them, for its interval.
    """
    per_image = worst_over_attacks(reading, attacks, truth)
    parts = [images_part(per_image)]
    if len(attacks[0]) > 1:
        if not reading.has_interval(len(attacks[0])):
            wanted = f"set evaluate.draws to {4 * reading.size}"
            raise TooFewDraws(f"{reading} of {len(attacks[0])} draws has no interval; {wanted}")
        parts.append(jackknife(worst_without_each_draw(reading, attacks, truth).mean(1)))
    return Estimate(float(per_image.mean()), tuple(parts))


def over_seeds(models: Sequence[Attacks], truth: np.ndarray, reading: Reading = EXPECTED) -> Estimate:
    """The figure over training seeds: models trained with different seeds, judged on the same images.

    V = s^2 / S + s_img^2 / n + the draws' part, where s is the standard deviation over seeds and s_img that of the images'
    mean readings. With one model it is that model's figure.
    """
    if len(models) == 1:
        return of_model(models[0], truth, reading)
    per_image = [worst_over_attacks(reading, attacks, truth) for attacks in models]
    left_out = [worst_without_each_draw(reading, attacks, truth).mean(1) for attacks in models if len(attacks[0]) > 1]
    return of_readings(per_image, left_out)


def of_readings(per_image: Sequence[np.ndarray], left_out: Sequence[np.ndarray] = ()) -> Estimate:
    """A figure from its readings: `per_image` [n] of each training seed's model on the same images; `left_out` [M], of each
    randomised model, the figure with each draw left out."""
    readings = np.array(per_image)
    seeds = readings.mean(1)
    parts = [images_part(readings.mean(0))]
    if len(seeds) > 1:
        parts.insert(0, Part(float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1))
    draws = [jackknife(figures) for figures in left_out]
    if draws:
        parts.append(mean_of_parts(draws))
    return Estimate(float(seeds.mean()), tuple(parts))


def mean_of_parts(parts: Sequence[Part]) -> Part:
    """The variance of the mean of independent figures, each with its own part."""
    variance = sum(part.variance for part in parts) / len(parts) ** 2
    lower = sum((part.variance / len(parts) ** 2) ** 2 / part.freedom for part in parts if part.variance > 0)
    return Part(variance, variance**2 / lower if lower > 0 else np.inf)
