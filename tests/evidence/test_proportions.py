"""Wilson's interval against published values and its formula; McNemar's test against the binomial."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from robuststack.evidence.limits import share_lower_limit
from robuststack.evidence.proportions import mcnemar, mcnemar_one_sided, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (the score interval).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_the_published_interval(right, n, low, high):
    assert wilson(right, n) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@given(st.integers(1, 2000), st.data())
def test_wilson_is_the_formula(n, data):
    right = data.draw(st.integers(0, n))
    z, p = scipy.stats.norm.ppf(0.975), right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson(right, n)
    assert low == pytest.approx(max(centre - half, 0), abs=1e-8)
    assert high == pytest.approx(min(centre + half, 1), abs=1e-8)


def test_mcnemar_counts_the_images_that_only_one_gets_right():
    right = np.array([True] * 10 + [False] * 90)
    assert mcnemar(right, right) == 1
    assert mcnemar(right, np.zeros(100, dtype=bool)) == pytest.approx(2 * 0.5**10)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_tests_and_the_limit_are_those_of_scipy_stats(first, second):
    n = first + second
    one = np.repeat([True, False], [first, second])
    differences = np.repeat([1, -1, 0], [first, second, 5])
    expected = scipy.stats.binomtest(first, n).pvalue if n else 1.0
    assert mcnemar(one, ~one) == pytest.approx(expected, rel=1e-9)
    expected = scipy.stats.binom.sf(first - 1, n, 0.5) if n else 1.0
    assert mcnemar_one_sided(differences) == pytest.approx(expected, rel=1e-9)
    if n:
        exact = scipy.stats.binomtest(first, n, alternative="greater").proportion_ci(0.95).low
        assert share_lower_limit(first, n) == pytest.approx(exact, rel=1e-9)
