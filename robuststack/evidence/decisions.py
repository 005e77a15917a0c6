"""One rule for checks and comparisons: when a difference deserves the words better, worse, weaker.

Two readings of one model (a check) and two rows (a comparison) are different questions: a check asks whether this very
model's figure falls, a comparison whether one method beats another, for which the training seed is the unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robuststack.evidence.estimate import Estimate
from robuststack.evidence.limits import share_upper_limit
from robuststack.evidence.proportions import LEVEL, mcnemar_one_sided, unseen
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.row_reading import RowReading, read_row
from robuststack.evidence.variance import Attacks, images_part, jackknife, over_units, seeds_part
from robuststack.evidence.worst_attack import worst_over_attacks, worst_without_each_draw

FALL = 0.01
"""A fall of at most one point is no finding."""
FIRES, CONFIRMS = 0.01, 0.05
"""p-values below which a fall counts, on the check's images and again on other images of the row."""
HOLDS = 0.03
"""A figure holds if the one-sided 95 % upper limit of its fall is at most three points."""
DRAWN_AGAIN = 0.999
"""Of the interval in which a figure on other judging draws has to lie: a campaign of a hundred honest rows should find none
outside."""


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


@dataclass(frozen=True)
class Side:
    """What a fall holds against another: one model's reading of each image, the worst over attacks, 0 to 1."""

    per_image: np.ndarray
    """float [n]"""
    left_out: np.ndarray | None
    """The same with each judging draw left out in turn, float [M, n]; None at a deterministic point."""

    @classmethod
    def of(cls, attacks: Attacks, truth: np.ndarray, reading: Reading = EXPECTED) -> Side:
        """The reading under attacks, labels [M, n] each."""
        left_out = worst_without_each_draw(reading, attacks, truth) if len(attacks[0]) > 1 else None
        return cls(worst_over_attacks(reading, attacks, truth), left_out)

    @property
    def shape(self) -> tuple[int, ...]:
        """Judging draws and images."""
        return (1, *self.per_image.shape) if self.left_out is None else self.left_out.shape


def fall(before: Attacks, after: Attacks, truth: np.ndarray, reading: Reading = EXPECTED) -> Fall:
    """The fall of one model's reading, paired by images and judging draws: labels [M, n] each, the same M and n.

    Raises:
        ValueError: the draws or the images are not the same number.
    """
    _refuse_unpaired(before[0].shape, after[0].shape)
    return fall_between(Side.of(before, truth, reading), Side.of(after, truth, reading))


def fall_between(before: Side, after: Side) -> Fall:
    """The fall from one side to the other, paired by images and judging draws.

    Deterministic readings are tested by McNemar's exact test, one-sided; randomised ones by Student's, on the variance of
    the paired differences. The limit is Student's, at deterministic points not below the exact limit of the images that
    fall, minus the share of those that rise.

    Raises:
        ValueError: the draws or the images are not the same number.
    """
    _refuse_unpaired(before.shape, after.shape)
    difference = before.per_image - after.per_image
    parts = [images_part(difference)]
    if before.left_out is not None and after.left_out is not None:
        parts.append(jackknife((before.left_out - after.left_out).mean(1)))
    estimate = Estimate(float(difference.mean()), tuple(parts))
    limit = upper_limit(estimate, len(difference))
    if before.left_out is not None:
        return Fall(estimate, estimate.p_above(), limit)
    # Of a few images that fall, Student's limit holds the true fall in as few as 80 of 100 cases.
    exact = share_upper_limit(int((difference > 0).sum()), len(difference)) - float((difference < 0).mean())
    return Fall(estimate, mcnemar_one_sided(difference), max(limit, exact))


def _refuse_unpaired(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    if first != second:
        raise ValueError(f"labels of shapes {first} and {second} cannot be paired")


def upper_limit(estimate: Estimate, n: int, level: float = LEVEL) -> float:
    """The one-sided upper limit of a mean difference; if no image differs, what n images cannot exclude."""
    if estimate.variance == 0:
        return estimate.value + unseen(n, 1 - level)
    return estimate.value + estimate.quantile(level)


@dataclass(frozen=True)
class DrawnAgain:
    """The accuracy of one model on the same images, 0 to 1, on two sets of judging draws."""

    first: float
    second: float
    allowed: float
    """How far apart chance may put them."""

    @property
    def apart(self) -> float:
        return abs(self.second - self.first)


def drawn_again(first: Attacks, second: Attacks, truth: np.ndarray) -> DrawnAgain:
    """The worst of the same attacks on two sets of judging draws, labels [M, n] each. The images are the same, so the
    variance is that of the draws alone."""
    figures, parts = [], []
    for attacks in (first, second):
        figures.append(float(worst_over_attacks(EXPECTED, attacks, truth).mean()))
        if len(attacks[0]) > 1:
            parts.append(jackknife(worst_without_each_draw(EXPECTED, attacks, truth).mean(1)))
    difference = Estimate(figures[1] - figures[0], tuple(parts))
    # One point is left for attacks that change places when the worst is chosen on other draws.
    return DrawnAgain(figures[0], figures[1], max(difference.quantile((1 + DRAWN_AGAIN) / 2), FALL))


Verdict = Literal["better", "worse", "undecided"]
Scope = Literal["methods", "these two models", "these models"]


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
    scope: Scope
    """A row of one training seed tells of the models that are there and not of the methods."""

    def verdict(self, p: float | None = None) -> Verdict:
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
    """The first row's figure minus the second's: labels of the model of each training seed, on the same images; one attack
    seed each. `difference` says how."""
    rows = [read_row([[attacks] for attacks in models], truth, reading) for models in (first, second)]
    return difference(*rows, same_models=same_models)


def difference(first: RowReading, second: RowReading, *, same_models: bool = False) -> Comparison:
    """The first row's figure minus the second's, on the same images.

    V = s_A^2 / S_A + s_B^2 / S_B + s_img^2 / n + the draws' part, Student's interval with Satterthwaite's degrees of
    freedom. `same_models` says that both rows judge the same models, seed by seed; then their seeds are paired too, and
    the interval and p are those of `SeedsEstimate`: Satterthwaite's would call equal settings of two or three models
    better or worse too often, if their difference moves from seed to seed.
    """
    draws = [row.draws_part for row in (first, second) if row.draws_part is not None]
    several = min(len(first.models), len(second.models)) > 1
    if same_models and several:
        estimate: Estimate = over_units(first.models - second.models, draws)
    else:
        parts = [images_part(first.per_image - second.per_image)]
        if several:
            parts += [seeds_part(np.array(row.seeds)) for row in (first, second)]
        estimate = Estimate(first.value - second.value, (*parts, *draws))
    n, models = first.models.shape[1], len(first.models) + len(second.models)
    low, high = _limits(estimate, n)
    scope: Scope = "methods" if several else "these two models" if models == 2 else "these models"
    return Comparison(estimate, low, high, _two_sided(estimate, n), (first.seeds, second.seeds), scope)


def _limits(estimate: Estimate, n: int) -> tuple[float, float]:
    """The two-sided limits of a difference. An interval that holds 0 is never narrower than what n images cannot exclude:
    rows that are alike on all of them, or nearly, may still differ on others."""
    low, high = estimate.interval(LEVEL)
    if low <= 0 <= high or estimate.variance == 0:
        low, high = min(low, estimate.value - unseen(n)), max(high, estimate.value + unseen(n))
    return max(low, -1.0), min(high, 1.0)


def _two_sided(estimate: Estimate, n: int) -> float:
    """The two-sided p-value of a difference; if it is the same on all images, that of the sign test."""
    if estimate.variance == 0:
        return min(1.0, 2 * 0.5**n) if estimate.value else 1.0
    return estimate.p_other_than_zero()


def from_intervals(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """The first figure minus the second, and its limits, from both printed intervals alone (Newcombe 1998, method 10):
    (value, low, high) each, in any one unit.

    Neither images nor seeds are paired, and the intervals may not hold the training seeds: it is no verdict.
    """
    value = first[0] - second[0]
    low = math.hypot(first[0] - first[1], second[2] - second[0])
    high = math.hypot(first[2] - first[0], second[0] - second[1])
    return value, value - low, value + high


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values for a family of questions, each to be held against the same level."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * float(p_values[place])))
        corrected[place] = highest
    return [float(p) for p in corrected]
