"""A figure and the parts of its variance: intervals, limits and p-values.

Tests and limits are Student's, with the degrees of freedom of Satterthwaite. Over several seeds, their part has a quantile
of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from robuststack.evidence.proportions import LEVEL

LEAST_P = 1e-100
"""A p-value over seeds is searched down to this one."""


def students_quantile(freedom: float, share: float) -> float:
    """Of Student's distribution with so many degrees of freedom, or infinitely many."""
    from scipy.special import stdtrit  # Of scipy.stats' distribution, without the hundred times that it takes.

    return float(stdtrit(min(freedom, 1e9), share))


@dataclass(frozen=True)
class Part:
    """A variance, and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A mean of readings, 0 to 1, or of their differences, -1 to 1, with the parts of its variance."""

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
        """How far above the value the one-sided limit of this level lies; below it, and negative, for a share under 0.5."""
        return students_quantile(self.freedom, share) * float(np.sqrt(self.variance))

    def half_width(self, level: float = LEVEL) -> float:
        """Half of the two-sided interval."""
        return self.quantile((1 + level) / 2)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval, 0 to 1 not enforced."""
        half = self.half_width(level)
        return self.value - half, self.value + half

    def p_above(self, bound: float = 0.0) -> float:
        """The one-sided p-value of the value being above `bound` by chance."""
        from scipy.special import stdtr

        if self.variance == 0:
            return 0.0 if self.value > bound else 1.0
        return float(stdtr(min(self.freedom, 1e9), (bound - self.value) / np.sqrt(self.variance)))

    def p_other_than_zero(self) -> float:
        """The two-sided p-value of the value being other than 0 by chance."""
        return 2 * replace(self, value=abs(self.value)).p_above()


@dataclass(frozen=True)
class SeedsEstimate(Estimate):
    """A mean over two seeds or more, whose limits do not trust so few of them to say how much seeds vary.

    Satterthwaite's degrees of freedom are themselves an estimate: if few seeds happen to be alike, they are those of the
    images, the interval is too narrow, and p is too small.
    """

    seeds: Part
    """What the choice of seeds adds: one of `parts`."""
    twice: float
    """What both the seeds' part and the images' part hold: the noise of each image under each seed. At most the images'
    part."""

    def quantile(self, share: float) -> float:
        """How far above the value the one-sided limit of this level lies: the limits of seeds and of all else, as the
        method of variance estimates recovery adds them (MOVER; Zou and Donner 2008), less what both hold.

        limit^2 = max(t(S - 1)^2 V_seeds - t(df)^2 twice, 0) + t(df)^2 V_else, with Satterthwaite's df of all else.
        """
        others = Estimate(self.value, tuple(part for part in self.parts if part is not self.seeds))
        of_seeds, of_others = (
            students_quantile(freedom, share) ** 2 for freedom in (self.seeds.freedom, others.freedom)
        )
        alone = max(of_seeds * self.seeds.variance - of_others * self.twice, 0.0)
        return math.copysign(math.sqrt(alone + of_others * others.variance), share - 0.5)

    def p_above(self, bound: float = 0.0) -> float:
        """The one-sided p-value of the value being above `bound` by chance: the tail whose limit just reaches the bound.
        Twice this is below 1 - `LEVEL` if, and only if, the interval of this level lies above the bound."""
        if self.variance == 0 or self.value == bound:
            return super().p_above(bound)
        tail = self._tail(abs(self.value - bound))
        return tail if self.value > bound else 1 - tail

    def _tail(self, distance: float) -> float:
        """The tail whose limit lies at this distance from the value, at least half of `LEAST_P`. Bisection finds it:
        limits grow as tails shrink, since `twice` is at most a part of all else."""
        # The printed interval comes first, by its own arithmetic: rounding may not part it from its verdict.
        printed = (1 - LEVEL) / 2
        low, high = (LEAST_P / 2, printed) if distance > self.half_width() else (printed, 0.5)
        while high - low > 1e-12 * high:
            middle = math.sqrt(low * high)
            if not low < middle < high:
                break
            low, high = (low, middle) if distance > -self.quantile(middle) else (middle, high)
        return low
