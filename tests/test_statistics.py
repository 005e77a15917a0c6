"""Intervals: against published values, by simulation, and what they must never do."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststack.statistics import Estimate, accuracy, wilson


def deterministic(right: int, n: int) -> np.ndarray:
    return (np.arange(n) < right)[None]


def width(figure: Estimate) -> float:
    return figure.high - figure.low


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (the score interval).
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_wilson_is_the_published_interval(right, n, low, high):
    assert wilson(right, n) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@given(st.integers(1, 2000), st.data())
def test_wilson_is_the_formula(n, data):
    right = data.draw(st.integers(0, n))
    z, p = scipy.stats.norm.ppf(0.975), right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson(right, n)
    assert low == pytest.approx(100 * max(centre - half, 0), abs=1e-6)
    assert high == pytest.approx(100 * min(centre + half, 1), abs=1e-6)


def test_one_deterministic_run_gets_wilson():
    figure = accuracy([[deterministic(70, 100)]], stochastic=False)
    assert figure == Estimate(70.0, *wilson(70, 100), "wilson")


def test_the_worst_case_is_per_image_over_attacks():
    first, second = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    assert accuracy([[first]], stochastic=False).value == 50
    assert accuracy([[first, second]], stochastic=False).value == 25


def test_the_worst_case_is_over_attacks_and_never_over_draws():
    # Two images, two draws; each image is right in one draw of each attack.
    first = np.array([[True, False], [False, True]])
    other = np.array([[False, False], [True, True]])
    assert accuracy([[first]], stochastic=True).value == 50
    assert accuracy([[other]], stochastic=True).value == 50
    # The worst draw would give 0, the worst of all attacks and draws at once too.
    assert accuracy([[first, other]], stochastic=True).value == 50
    assert np.min([first.min(0), other.min(0)]) == 0


def test_the_mean_over_draws_comes_before_the_minimum_over_attacks():
    # Pairing the draws of two attacks and taking the minimum of each pair would give 0.
    first, other = np.array([[True], [False]]), np.array([[False], [True]])
    assert accuracy([[first, other]], stochastic=True).value == 50


def test_means_over_images_do_not_replace_the_worst_case():
    # The mean of each attack is 50 %; an image each attack spares falls to the other.
    first, other = np.array([[True, False]]), np.array([[False, True]])
    assert accuracy([[first, other]], stochastic=False).value == 0


runs = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 25), st.integers(1, 12), st.integers(0, 999),
    st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
)  # fmt: skip


def drawn(case: tuple[int, int, int, int, int, float]) -> list[list[np.ndarray]]:
    seeds, attacks, draws, n, seed, share = case
    random = np.random.RandomState(seed)
    return [[random.random_sample((draws, n)) < share for _ in range(attacks)] for _ in range(seeds)]


@settings(max_examples=60, deadline=None)
@given(runs, st.booleans())
def test_every_interval_holds_its_value_and_stays_in_percent(case, stochastic):
    case = case if stochastic else (*case[:2], 1, *case[3:])
    figure = accuracy(drawn(case), stochastic=stochastic)
    assert 0 <= figure.low <= figure.value + 1e-9
    assert figure.value - 1e-9 <= figure.high <= 100
    assert figure.method in ("wilson", "bootstrap")


@settings(max_examples=30, deadline=None)
@given(runs)
def test_another_attack_never_raises_the_worst_case(case):
    outcomes = drawn(case)
    every = accuracy(outcomes, stochastic=True).value
    for attack in range(case[1]):
        assert every <= accuracy([[run[attack]] for run in outcomes], stochastic=True).value + 1e-9


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize(("seeds", "draws", "n"), [(1, 1, 100), (1, 20, 100), (3, 1, 100), (3, 20, 97), (2, 7, 10)])
def test_outcomes_that_are_all_alike_get_wilson(right, seeds, draws, n):
    # Resampling them would claim certainty.
    outcomes = [[np.full((draws, n), right)] for _ in range(seeds)]
    figure = accuracy(outcomes, stochastic=draws > 1)
    assert figure == Estimate(100.0 * right, *wilson(n * right, n), "wilson")
    assert width(figure) > 1


def test_seeds_are_averaged_and_not_pooled():
    random = np.random.RandomState(0)
    single_seed = random.random_sample((1, 400)) < 0.7
    single, pooled = accuracy([[single_seed]], stochastic=False), wilson(5 * int(single_seed.sum()), 2000)
    five = accuracy([[single_seed]] * 5, stochastic=False)
    assert five.value == pytest.approx(single.value)
    # The same images five times are no five times as many images.
    assert width(five) == pytest.approx(width(single), rel=0.1)
    assert width(five) > 1.9 * (pooled[1] - pooled[0])


def test_the_figure_is_the_mean_of_the_seeds():
    outcomes = [[deterministic(right, 100)] for right in (60, 70, 95)]
    assert accuracy(outcomes, stochastic=False).value == pytest.approx(75)


def test_the_worst_case_is_taken_in_each_seed():
    seeds = [[deterministic(60, 100), deterministic(50, 100)], [deterministic(70, 100), deterministic(90, 100)]]
    assert accuracy(seeds, stochastic=False).value == pytest.approx(60)


def simulated(random: np.random.RandomState, draws: int, n: int, draw_effect: float) -> np.ndarray:
    """Images of unequal difficulty, judged on draws that are lucky or unlucky for all of them at once."""
    difficulty = random.standard_normal(n) + 0.8
    luck = draw_effect * random.standard_normal((draws, 1))
    return difficulty + luck + 0.5 * random.standard_normal((draws, n)) > 0


@pytest.mark.parametrize("draw_effect", [0.0, 0.6])
def test_the_bootstrap_covers_the_truth_although_images_share_a_draw(draw_effect):
    random = np.random.RandomState(1)
    truth = 100 * scipy.stats.norm.cdf(0.8 / np.sqrt(1 + draw_effect**2 + 0.25))
    trials, covered, naive = 120, 0, 0
    for _ in range(trials):
        outcomes = simulated(random, 20, 150, draw_effect)
        figure = accuracy([[outcomes]], stochastic=True)
        covered += figure.low <= truth <= figure.high
        low, high = wilson(int(outcomes.sum()), outcomes.size)
        naive += low <= truth <= high
    assert covered >= 0.9 * trials
    # Treating every draw of every image as a sample of its own does not cover: the check above can fail.
    assert naive < 0.7 * trials


def test_a_shared_draw_widens_the_interval():
    random = np.random.RandomState(2)
    shared, own = (accuracy([[simulated(random, 20, 400, effect)]], stochastic=True) for effect in (1.0, 0.0))
    assert width(shared) > 1.5 * width(own)


def test_more_images_narrow_the_interval():
    random = np.random.RandomState(3)
    few, many = (accuracy([[simulated(random, 20, n, 0.0)]], stochastic=True) for n in (50, 800))
    assert width(few) > 3 * width(many)


def test_figures_are_the_same_every_time():
    random = np.random.RandomState(4)
    outcomes = [[simulated(random, 5, 60, 0.5) for _ in range(2)] for _ in range(2)]
    np.random.seed(0)
    first = accuracy(outcomes, stochastic=True)
    np.random.seed(1)
    assert accuracy(outcomes, stochastic=True) == first


def test_attacks_judged_on_the_same_draws_are_resampled_with_the_same_draws():
    # Three attacks that differ little, as PGD-7 and PGD-20 do, judged on shared noise: the minimum over attacks must not
    # be resampled downwards, so that the figure lies well inside its own interval.
    random = np.random.RandomState(0)
    base = random.random_sample(300)[None, :] + 0.25 * random.standard_normal((20, 1))
    run = [base + 0.15 * random.standard_normal((20, 300)) + shift < 0.6 for shift in (0.0, 0.01, 0.02)]
    figure = accuracy([run], stochastic=True)
    below, above = figure.value - figure.low, figure.high - figure.value
    assert 0.5 < above / below < 2
