"""What makes the committed table of coverage is the arithmetic of the package, and its bars are held."""

from __future__ import annotations

import numpy as np
import pytest
from coverage_table import front_coverage, game_coverage, settings_told_apart, shares
from simulated_rows import (
    Batch,
    Case,
    difference_parts,
    figure_parts,
    half_width,
    half_width_over_seeds,
    limits,
    of_mean,
    paired,
    read,
    rows,
)

from robuststack.evidence.decisions import compare, difference
from robuststack.evidence.figures import measured
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.row_reading import read_row
from simulation import World


@pytest.mark.parametrize("reading", [EXPECTED, Reading("majority", 3), Reading("any", 3)], ids=str)
@pytest.mark.parametrize(("seeds", "draws"), [(1, 8), (2, 1), (3, 1), (3, 8), (5, 1), (1, 1)])
def test_whole_arrays_give_what_single_rows_give(reading, seeds, draws):
    if draws == 1:
        reading = EXPECTED
    random = np.random.default_rng(seeds + draws)
    n, repeats = 60, 4
    right = [random.random((repeats, seeds, draws, n)) < 0.7 for _ in range(2)]
    truth = np.zeros(n, dtype=int)
    labels = [np.where(outcomes, 0, 1) for outcomes in right]
    batches = [read(outcomes, reading) for outcomes in right]
    low, high = limits(batches[0])
    half = half_width(difference_parts(*batches))
    for repeat in range(repeats):
        models = [[[[of_row[repeat, seed]]] for seed in range(seeds)] for of_row in labels]
        figure = measured({(seed, 0): models[0][seed][0] for seed in range(seeds)}, truth, reading)
        assert (low[repeat], high[repeat]) == pytest.approx((figure.low, figure.high), abs=1e-6)
        comparison = difference(*(read_row(row, truth, reading) for row in models))
        assert half[repeat] == pytest.approx(comparison.estimate.quantile(0.975))


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("accuracy", "seed_sd"), [(0.05, 0.06), (0.5, 0.0), (0.5, 0.03), (0.8, 0.06)])
def test_the_bars_are_held_at_reduced_repeats(accuracy, seed_sd, seeds):
    repeats = 1000
    slack = 3 * (0.06 * 0.94 / repeats) ** 0.5
    covered, wrong = shares(Case(World(accuracy, seed_sd), 200, seeds), repeats)
    assert covered >= 0.94 - slack
    assert wrong <= 0.06 + slack


def shared(batch: Batch) -> np.ndarray:
    """Half of the interval with degrees of freedom that seeds and images share."""
    return half_width([*figure_parts(batch), of_mean(batch.seeds)])


def test_degrees_of_freedom_that_seeds_and_images_share_would_not_hold_them(monkeypatch):
    """The bar can be missed: two seeds that happen to be alike would have the interval of the images."""
    case = Case(World(0.5, 0.06), 1000, 2)
    assert shares(case, 500)[0] > 0.94
    monkeypatch.setattr("simulated_rows.half_width_over_seeds", shared)
    assert shares(case, 500)[0] < 0.91


def test_five_seeds_that_do_not_vary_cost_no_width():
    """What images and seeds both hold is counted once: else the interval would be wider by a twentieth."""
    random = np.random.default_rng(0)
    case = Case(World(0.5), 200, 5)
    batch = rows(case, case.world.images(200 * 200, random).reshape(200, 200).astype(np.float32), random)
    together = half_width([*figure_parts(batch), of_mean(batch.seeds)])
    assert np.median(half_width_over_seeds(batch)) < 1.01 * np.median(together)


def test_a_variance_without_seeds_would_not_hold_them(monkeypatch):
    """The bars can be missed: images alone do not tell methods of several seeds apart rightly."""
    case = Case(World(0.5, 0.06), 200, 5)
    monkeypatch.setattr("coverage_table.difference_parts", lambda first, second: difference_parts(first, second)[:1])
    assert shares(case, 300)[1] > 0.15


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("accuracy", "seed_sd", "n"), [(0.05, 0.03, 200), (0.5, 0.0, 200), (0.5, 0.06, 1000)])
def test_settings_of_the_same_models_are_told_apart_as_seldom_as_promised(accuracy, seed_sd, n, seeds):
    repeats = 1000
    assert (
        settings_told_apart(Case(World(accuracy, seed_sd), n, seeds), repeats)
        <= 0.06 + 3 * (0.06 * 0.94 / repeats) ** 0.5
    )


@pytest.mark.parametrize(("seeds", "more"), [(2, 0.09), (3, 0.06)])
def test_degrees_of_freedom_that_seeds_and_images_share_would_tell_settings_apart_too_often(seeds, more, monkeypatch):
    case = Case(World(0.5, 0.06), 1000, seeds)
    own = settings_told_apart(case, 1500)
    monkeypatch.setattr("coverage_table.half_width_over_seeds", shared)
    assert settings_told_apart(case, 1500) > max(more, own + 0.01)


def test_whole_arrays_pair_settings_as_single_rows_do():
    random = np.random.default_rng(5)
    for draws in (1, 8):
        labels = [[[np.where(random.random((draws, 60)) < 0.7, 0, 1)] for _ in range(3)] for _ in range(2)]
        of_rows = compare(*labels, np.zeros(60, dtype=int), same_models=True)
        first, second = (read(np.array(row)[None, :, 0] == 0, EXPECTED) for row in labels)
        assert half_width_over_seeds(paired(first, second))[0] == pytest.approx(of_rows.estimate.half_width())


def test_hypervolume_and_game_value_hold_their_bar_at_reduced_repeats():
    repeats = 40
    least = 0.93 - 3 * (0.07 * 0.93 / repeats) ** 0.5
    assert front_coverage(2, 0.03, repeats) >= least
    assert game_coverage(2, 1, 0.0, repeats) >= least
