"""Games of known value: the linear programme of a mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststack.evidence.mixture import hidden_value, seen_value, solve, solve_set


def one_image(matrix: list[list[float]]) -> np.ndarray:
    return np.array(matrix, dtype=float)[None]


@pytest.mark.parametrize(
    ("matrix", "value", "mixture"),
    [
        ([[0, 1], [1, 0]], 0.5, [0.5, 0.5]),  # matching pennies
        ([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]], 0.5, [1 / 3, 1 / 3, 1 / 3]),  # rock, paper, scissors
        ([[0.9, 0.2], [0.9, 0.1]], 0.9, [1, 0]),  # a dominated setting
        ([[0.2, 0.6], [0.8, 0.4]], 0.5, [0.25, 0.75]),
    ],
)
def test_games_of_known_value(matrix, value, mixture):
    for solution in (solve(one_image(matrix)), solve_set(one_image(matrix))):
        assert solution.value == pytest.approx(value, abs=1e-6)
        np.testing.assert_allclose(solution.mixture, mixture, atol=1e-6)


def test_an_attacker_of_each_image_leaves_less_than_one_of_the_whole_set():
    # Two images that are pennies of opposite sides: rows chosen once leave the means, rows chosen for each image do not.
    outcomes = np.array([[[0, 1], [1, 0]], [[1, 0], [0, 1]]], dtype=float)
    assert solve_set(outcomes).value == pytest.approx(0.5)
    assert solve(outcomes).value == pytest.approx(0.5)
    assert seen_value(outcomes, np.array([0.5, 0.5])) == 0
    assert hidden_value(outcomes, np.array([0.5, 0.5])) == 0.5


def test_the_clean_accuracy_is_held():
    matrix = one_image([[0.1, 0.8], [0.1, 0.8]])
    free = solve(matrix, clean=[0.99, 0.7], least_clean=0.0)
    held = solve(matrix, clean=[0.99, 0.7], least_clean=0.9)
    assert free.mixture[1] == pytest.approx(1)
    assert held.mixture @ [0.99, 0.7] == pytest.approx(0.9)
    with pytest.raises(
        ValueError, match=r"no mixture of these settings has a clean accuracy of 100 %; the highest is 99\.0 %"
    ):
        solve(matrix, clean=[0.99, 0.7], least_clean=1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 4))
def test_the_programme_is_worth_what_its_mixture_is(seed, rows, columns):
    outcomes = np.random.default_rng(seed).integers(0, 5, size=(30, rows, columns)) / 4
    solution = solve(outcomes)
    assert solution.value == pytest.approx(hidden_value(outcomes, solution.mixture), abs=1e-6)
    # No pure setting, and no other mixture, is worth more; and hiding never costs.
    for other in [*np.eye(columns), np.full(columns, 1 / columns)]:
        assert solution.value >= hidden_value(outcomes, other) - 1e-6
    assert hidden_value(outcomes, solution.mixture) >= seen_value(outcomes, solution.mixture) - 1e-9
