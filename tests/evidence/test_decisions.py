"""Falls and comparisons: one rule, and its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from robuststack.evidence.decisions import compare, fall, holm
from robuststack.evidence.estimate import Estimate
from robuststack.evidence.proportions import mcnemar_one_sided


def outcomes(right: int, n: int = 200) -> list[np.ndarray]:
    return [np.where(np.arange(n) < right, 0, 1)[None]]


TRUTH = np.zeros(200, dtype=int)


def test_a_large_fall_fires_and_none_holds():
    assert fall(outcomes(150), outcomes(100), TRUTH).verdict == "fires"
    assert fall(outcomes(150), outcomes(150), TRUTH).verdict == "holds"


def test_200_images_leave_a_small_fall_open_with_its_limit():
    result = fall(outcomes(150), outcomes(146), TRUTH)
    assert result.verdict == "open"
    assert result.limit > 0.03
    # What 200 images can exclude at best.
    assert fall(outcomes(150), outcomes(150), TRUTH).limit == pytest.approx(0.0149, abs=1e-3)


@pytest.mark.parametrize("n", [100, 200, 500])
@pytest.mark.parametrize(("falls", "rises"), [(0.03, 0.0), (0.01, 0.0), (0.035, 0.005), (0.05, 0.02)])
def test_the_limit_of_a_fall_is_above_it_in_95_of_100_cases(n, falls, rises):
    """Not by simulation: every outcome that is not next to impossible, with its probability."""
    held = 0.0
    for down in range(int(binom.ppf(1 - 1e-6, n, falls)) + 1):
        for up in range(int(binom.ppf(1 - 1e-6, n, rises)) + 1):
            before, after = np.zeros((2, 1, n), dtype=int)
            after[:, :down], before[:, down : down + up] = 1, 1
            chance = binom.pmf(down, n, falls) * binom.pmf(up, n - down, rises / (1 - falls))
            held += chance * (fall([before], [after], np.zeros(n, dtype=int)).limit >= falls - rises)
    assert held > 0.94


@given(st.integers(0, 199), st.integers(0, 100))
def test_one_more_image_that_falls_excludes_no_more(down, up):
    up = min(up, 199 - down)

    def limit(down: int) -> float:
        before, after = np.zeros((2, 1, 200), dtype=int)
        after[:, :down], before[:, 200 - up :] = 1, 1
        return fall([before], [after], TRUTH).limit

    assert limit(down + 1) >= limit(down)


def test_a_fall_below_a_point_never_fires():
    n = 100_000
    truth = np.zeros(n, dtype=int)
    assert fall(outcomes(50_500, n), outcomes(50_000, n), truth).verdict == "holds"


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test(difference):
    first, second = difference.count(1), difference.count(-1)
    expected = binomtest(first, first + second, 0.5, alternative="greater").pvalue if first + second else 1.0
    assert mcnemar_one_sided(np.array(difference)) == pytest.approx(expected)


def test_labels_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        fall(outcomes(10), outcomes(10, n=100), TRUTH)


def test_three_seeds_that_disagree_are_undecided():
    # Differences of +1.9, +7.6 and -2.7 points on 500 images.
    truth = np.zeros(500, dtype=int)
    first, second = ([outcomes(right, 500) for right in row] for row in ((300, 320, 280), (290, 282, 294)))
    result = compare(first, second, truth)
    assert result.verdict() == "undecided"
    assert result.scope == "methods"
    assert result.seeds[0] == pytest.approx((0.6, 0.64, 0.56))


def test_one_seed_tells_of_these_models_only():
    assert compare([outcomes(150)], [outcomes(100)], TRUTH).scope == "these two models"
    assert compare([outcomes(150)], [outcomes(100)], TRUTH).verdict() == "better"
    assert compare([outcomes(100)], [outcomes(150)], TRUTH).verdict() == "worse"


def test_the_same_models_are_paired_seed_by_seed():
    # Both rows move with the seed; their difference does not.
    first, second = ([outcomes(right) for right in row] for row in ((60, 100, 140), (50, 90, 130)))
    assert compare(first, second, TRUTH).verdict() == "undecided"
    assert compare(first, second, TRUTH, same_models=True).verdict() == "better"


def test_settings_that_move_apart_with_the_seed_are_undecided_and_say_so_in_their_interval():
    # Differences of 5, 7.5 and 10 points: Student's interval of two degrees of freedom holds 0, Satterthwaite's does not.
    first, second = ([outcomes(right) for right in row] for row in ((100, 105, 110), (90, 90, 90)))
    result = compare(first, second, TRUTH, same_models=True)
    assert Estimate(result.estimate.value, result.estimate.parts).p_other_than_zero() < 0.01
    assert 0.01 < result.p < 0.05
    assert result.verdict() == "better"
    assert 0 < result.low < 0.02
    # As one of several questions it is open.
    assert result.verdict(holm([result.p, 0.2, 0.3])[0]) == "undecided"
    # Two seeds cannot tell.
    result = compare(first[:2], second[:2], TRUTH, same_models=True)
    assert result.verdict() == "undecided"
    assert result.low < 0 < result.high


def test_the_verdict_on_one_seed_does_not_ask_whether_models_are_shared():
    first, second = outcomes(120), outcomes(100)
    apart, together = (compare([first], [second], TRUTH, same_models=same) for same in (False, True))
    assert (apart.estimate, apart.low, apart.high, apart.p) == (
        together.estimate,
        together.low,
        together.high,
        together.p,
    )


def test_rows_that_are_alike_are_undecided_within_what_their_images_cannot_exclude():
    # Of 200 images alike, at most 1.8 % of all images may differ.
    for other in (100, 101):
        result = compare([outcomes(100)], [outcomes(other)], TRUTH)
        assert result.verdict() == "undecided"
        assert result.low <= -0.018
        assert result.high >= 0.018 - 0.005


def test_holm_corrects_the_smallest_most():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6]) == [0.6]
