"""The mixture of settings that is worth most against an attacker who does not see which one runs: a linear programme.

`outcomes` [n, I, J] holds the reading of image x, crafted in way i, against the model at setting j, 0 to 1. A way of
crafting is an attack on one setting, or on a mixture of settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_CHANCE = 1e-6
"""A setting with a smaller chance is rounding of the linear programme."""


@dataclass(frozen=True)
class Solution:
    """A mixture over the victim's settings, and what it is worth."""

    mixture: np.ndarray
    """q [J]."""
    value: float
    """Mean accuracy, 0 to 1, against the attacker that the programme assumes."""


def hidden_value(outcomes: np.ndarray, mixture: np.ndarray) -> float:
    """What a mixture is worth to the defender if the attacker picks a crafting setting for each image, not knowing j."""
    return float((outcomes @ mixture).min(1).mean())


def seen_value(outcomes: np.ndarray, mixture: np.ndarray) -> float:
    """What the same mixture is worth if the attacker sees j and picks the crafting setting for each image and j."""
    return float(outcomes.min(1).mean(0) @ mixture)


def solve(outcomes: np.ndarray, *, clean: Sequence[float] | None = None, least_clean: float | None = None) -> Solution:
    """The mixture that is worth most against an attacker who picks a row for each image: one linear programme.

    max over q of mean_x min_i sum_j q_j a_x[i, j]. `clean` [J] is each setting's clean accuracy; with `least_clean` the
    mixture's must be at least that.

    Raises:
        ValueError: no mixture has that clean accuracy.
    """
    # Images that are alike are one, weighted.
    patterns, weights = np.unique(outcomes.reshape(len(outcomes), -1), axis=0, return_counts=True)
    return _programme(patterns.reshape(-1, *outcomes.shape[1:]), weights / len(outcomes), clean, least_clean)


def solve_set(
    outcomes: np.ndarray, *, clean: Sequence[float] | None = None, least_clean: float | None = None
) -> Solution:
    """The same if the attacker picks one row for the whole data set.

    Raises:
        ValueError: no mixture has that clean accuracy.
    """
    return _programme(outcomes.mean(0)[None], np.ones(1), clean, least_clean)


def _programme(
    patterns: np.ndarray, weights: np.ndarray, clean: Sequence[float] | None, least_clean: float | None
) -> Solution:
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, csr_array, hstack, vstack

    count, rows, columns = patterns.shape
    # Variables: q [J], then v [count], the value of each pattern. For each pattern and row: v - sum_j q_j a[i, j] <= 0.
    ones = coo_array((np.ones(count * rows), (np.arange(count * rows), np.repeat(np.arange(count), rows))))
    limits = hstack([csr_array(-patterns.reshape(count * rows, columns)), ones])
    bounds = np.zeros(count * rows)
    if clean is not None and least_clean is not None:
        extra = csr_array(np.concatenate([-np.asarray(clean, dtype=float), np.zeros(count)])[None])
        limits, bounds = vstack([limits, extra]), np.append(bounds, -least_clean)
    result = linprog(
        np.concatenate([np.zeros(columns), -weights]),
        A_ub=limits.tocsr(),
        b_ub=bounds,
        A_eq=np.concatenate([np.ones(columns), np.zeros(count)])[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * columns + [(None, None)] * count,
        method="highs",
    )
    if result.status == 2:
        highest = max(clean) if clean is not None else 0.0
        raise ValueError(
            f"no mixture of these settings has a clean accuracy of {100 * (least_clean or 0):g} %; the highest is"
            f" {100 * highest:.1f} %"
        )
    if result.status != 0:
        raise ValueError(f"the linear programme of the game was not solved: {result.message}")
    mixture = np.where(result.x[:columns] > LEAST_CHANCE, result.x[:columns], 0.0)
    return Solution(mixture / mixture.sum(), -float(result.fun))
