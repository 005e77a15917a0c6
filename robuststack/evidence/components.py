"""Where the variance of a figure comes from: training seed, attack seed, inference draw, test images.

Each part is a standard deviation in points: how far the figure of all images would move if that one thing alone were drawn
again, once. So a reader sees what to buy: seeds, draws or images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Outcomes = Mapping[tuple[int, ...], np.ndarray]
"""(training seed, attack seed) -> whether a draw got an image right, 0 to 1, [M, n], all on the same images."""


@dataclass(frozen=True)
class Component:
    """One source of variance; `sd` in points, None if the runs cannot tell it apart from another."""

    name: str
    sd: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.sd is None:
            return f"{self.name}: not separable"
        return f"{self.name}: {self.sd:.2f} [{self.low:.2f}, {self.high:.2f}]"


def components(right: Outcomes, level: float = 0.95) -> list[Component]:
    """The four parts, by the method of moments: draws are nested in attack runs, those in models; images cross all.

    A negative estimate is 0. With one seed its part is not separable, with one draw (a deterministic point) the draw's part
    is 0. Intervals are those of the mean squares (chi-squared), shifted by what the parts below them contribute.
    """
    models = sorted({train for train, *_ in right})
    figures = {pair: outcome.mean(1) for pair, outcome in right.items()}  # one for each draw [M]
    draws = len(next(iter(figures.values())))
    draw, draw_freedom = _pooled(list(figures.values()))
    by_model = [np.array([figures[pair].mean() for pair in sorted(figures) if pair[0] == model]) for model in models]
    attacks = min(len(runs) for runs in by_model)
    attack, attack_freedom = _pooled(by_model)
    model_means = np.array([runs.mean() for runs in by_model])
    train, train_freedom = _pooled([model_means])
    images = np.mean([outcome.mean(0) for outcome in right.values()], axis=0)
    between, images_freedom = _pooled([images])
    below_models = attack / attacks if attack_freedom else draw / draws
    parts = [
        _component("training seed", train, below_models, train_freedom, level),
        _component("attack seed", attack, draw / draws, attack_freedom, level),
        _component("inference draw", draw, 0.0, draw_freedom, level),
        _component("test images", between / len(images), 0.0, images_freedom, level),
    ]
    if draws == 1:
        parts[2] = Component("inference draw", 0.0, 0.0, 0.0)
    return parts


def _pooled(groups: list[np.ndarray]) -> tuple[float, int]:
    """The variance within groups, pooled, and its degrees of freedom: 0 where no group has two."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return (squares / freedom if freedom else 0.0), freedom


def _component(name: str, square: float, below: float, freedom: int, level: float) -> Component:
    """The part of a mean square that is left when what lies below it is taken off, as a standard deviation in points."""
    from scipy.special import chdtri

    if not freedom:
        return Component(name, None)
    upper_tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (square * freedom / float(chdtri(freedom, tail)) for tail in upper_tails)
    sd, low, high = (100 * max(value - below, 0.0) ** 0.5 for value in (square, low, high))
    return Component(name, sd, low, high)
