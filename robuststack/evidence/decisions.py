"""One rule for checks and comparisons: when a difference deserves the words better, worse, weaker.

Two readings of one model (a check) and two rows (a comparison) are different questions: a check asks whether this very
model's figure falls, a comparison whether one method beats another, for which the training seed is the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robuststack.evidence.proportions import LEVEL, mcnemar_one_sided
from robuststack.evidence.readings import EXPECTED, Reading, worst_over_attacks, worst_without_each_draw
from robuststack.evidence.variance import (
    Attacks,
    Estimate,
    Part,
    images_part,
    jackknife,
    mean_of_parts,
)

FALL = 0.01
"""A fall of at most one point is no finding."""
FIRES, CONFIRMS = 0.01, 0.05
"""p-values below which a fall counts, on the check's images and again on other images of the row."""
HOLDS = 0.03
"""A figure holds if the one-sided 95 % upper limit of its fall is at most three points."""


@dataclass(frozen=True)
class Fall:
    """How far a reading of one model falls from one attack, or number of draws, to another, on the same images."""

    estimate: Estimate
    """Before minus after, 0 to 1."""
    p: float
    """One-sided."""
    limit: float
    """The one-sided 95 % upper limit of the fall."""

    @property
    def fires(self) -> bool:
        return self.estimate.value > FALL and self.p < FIRES

    @property
    def confirms(self) -> bool:
        """Whether other images say the same."""
        return self.p < CONFIRMS

    @property
    def verdict(self) -> Literal["fires", "holds", "open"]:
        if self.fires:
            return "fires"
        return "holds" if self.limit <= HOLDS else "open"


def fall(before: Attacks, after: Attacks, truth: np.ndarray, reading: Reading = EXPECTED) -> Fall:
    """The fall of one model's reading, paired by images and judging draws: labels [M, n] each, the same M and n.

    Deterministic readings are tested by McNemar's exact test, one-sided; randomised ones by Student's, on the variance of
    the paired differences.

    Raises:
        ValueError: the draws or the images are not the same number.
    """
    if before[0].shape != after[0].shape:
        raise ValueError(f"labels of shapes {before[0].shape} and {after[0].shape} cannot be paired")
    difference = worst_over_attacks(reading, before, truth) - worst_over_attacks(reading, after, truth)
    parts = [images_part(difference)]
    if len(before[0]) > 1:
        left_out = worst_without_each_draw(reading, before, truth) - worst_without_each_draw(reading, after, truth)
        parts.append(jackknife(left_out.mean(1)))
    estimate = Estimate(float(difference.mean()), tuple(parts))
    p = estimate.p_above() if len(before[0]) > 1 else mcnemar_one_sided(difference)
    return Fall(estimate, p, upper_limit(estimate, len(truth)))


def upper_limit(estimate: Estimate, n: int, level: float = LEVEL) -> float:
    """The one-sided upper limit of a mean difference; if no image differs, what n images cannot exclude."""
    if estimate.variance == 0:
        return float(estimate.value + 1 - (1 - level) ** (1 / n))
    return estimate.value + estimate.quantile(level)


@dataclass(frozen=True)
class Comparison:
    """One row's figure minus another's, 0 to 1, and what it is evidence of."""

    estimate: Estimate
    low: float
    high: float
    p: float
    """Two-sided."""
    seeds: tuple[tuple[float, ...], tuple[float, ...]]
    """Every training seed's figure, of the first and of the second row."""
    scope: Literal["methods", "these two models"]

    def verdict(self, p: float | None = None) -> Literal["better", "worse", "undecided"]:
        """What the first row is, compared with the second; `p` replaces the row's own where several were corrected."""
        if (self.p if p is None else p) >= 1 - LEVEL:
            return "undecided"
        return "better" if self.estimate.value > 0 else "worse"


def compare(
    first: Sequence[Attacks],
    second: Sequence[Attacks],
    truth: np.ndarray,
    reading: Reading = EXPECTED,
    *,
    same_models: bool = False,
) -> Comparison:
    """The first row's figure minus the second's: labels of the models of each training seed, on the same images.

    V = s_A^2 / S_A + s_B^2 / S_B + s_img^2 / n + the draws' part, Student's interval with Satterthwaite's degrees of
    freedom. `same_models` says that both rows judge the same models, seed by seed; then their seeds are paired too. A row
    of one seed tells of the models that are there and not of the methods.
    """
    readings = [np.array([worst_over_attacks(reading, attacks, truth) for attacks in row]) for row in (first, second)]
    seeds = [row.mean(1) for row in readings]
    value = float(seeds[0].mean() - seeds[1].mean())
    parts = [images_part(readings[0].mean(0) - readings[1].mean(0))]
    several = min(len(row) for row in seeds) > 1
    if same_models and several:
        parts.append(_of_mean(seeds[0] - seeds[1]))
    elif several:
        parts += [_of_mean(row) for row in seeds]
    parts += [
        mean_of_parts([jackknife(worst_without_each_draw(reading, attacks, truth).mean(1)) for attacks in row])
        for row in (first, second)
        if len(row[0][0]) > 1
    ]
    estimate = Estimate(value, tuple(parts))
    low, high = estimate.interval(LEVEL)
    p = 2 * min(estimate.p_above(), 0.5) if value >= 0 else 2 * min(_mirrored(estimate).p_above(), 0.5)
    if estimate.variance == 0 and value == 0:
        p = 1.0
    figures = (tuple(map(float, seeds[0])), tuple(map(float, seeds[1])))
    return Comparison(estimate, low, high, p, figures, "methods" if several else "these two models")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values for a family of questions, each to be held against the same level."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * float(p_values[place])))
        corrected[place] = highest
    return [float(p) for p in corrected]


def _of_mean(figures: np.ndarray) -> Part:
    return Part(float(figures.var(ddof=1)) / len(figures), len(figures) - 1)


def _mirrored(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, estimate.parts)
