"""Intervals hold the true figure as often as they say, and a comparison is wrong no oftener than it says."""

from __future__ import annotations

import os

import numpy as np
import pytest

from robuststack.evidence.decisions import compare
from robuststack.evidence.figures import measured
from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws
from robuststack.evidence.variance import (
    jackknife,
    of_model,
    over_seeds,
    over_units,
    shared_noise,
)
from simulation import World, truth

REPEATS = int(os.environ.get("ROBUSTSTACK_REPEATS", "300"))
"""The committed table is made with 10,000."""
SLACK = 3 * (0.05 * 0.95 / REPEATS) ** 0.5
"""Three standard errors of a share of 5 % in so many repeats."""


def true_figure(world: World, n: int = 200_000) -> float:
    """What clipping makes of the stated accuracy."""
    random = np.random.default_rng(99)
    models = (world.models(world.images(n // 100, random), 1, random) for _ in range(100))
    return float(np.mean([(labels == 0).mean() for ((labels,),) in models]))


@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("seed_sd", [0.0, 0.06])
@pytest.mark.parametrize("seeds", [2, 5])
def test_the_interval_over_seeds_covers_the_figure(accuracy, seed_sd, seeds):
    world = World(accuracy, seed_sd)
    target, random = true_figure(world), np.random.default_rng(1)
    covered = 0
    for _ in range(REPEATS):
        models = world.models(world.images(200, random), seeds, random)
        figure = measured({(seed, 0): attacks for seed, attacks in enumerate(models)}, truth(200))
        covered += figure.low <= target <= figure.high
    assert covered / REPEATS >= 0.94 - SLACK


@pytest.mark.parametrize("reading", [EXPECTED, Reading("majority", 5), Reading("any", 5)], ids=str)
def test_the_interval_of_a_randomised_model_covers_its_reading(reading):
    # One model: its images' own chances are fixed, images and draws are what is sampled.
    random = np.random.default_rng(2)
    population, draws = random.beta(2, 1, size=5_000), 20
    offset_sd = 0.05
    many = np.clip(population + random.normal(0, offset_sd, size=(400, 1)), 0, 1)
    if reading.kind == "expected":
        target = float(many.mean())
    else:
        sampled = random.integers(400, size=(600, reading.size))
        chance = many[sampled]
        if reading.kind == "any":
            target = float(chance.prod(1).mean())
        else:
            votes = (random.random(chance.shape) < chance).sum(1)
            target = float((votes > reading.size / 2).mean())
    covered = 0
    for _ in range(REPEATS):
        images = random.choice(population, 200)
        right = random.random((draws, 200)) < np.clip(images + random.normal(0, offset_sd, size=(draws, 1)), 0, 1)
        low, high = of_model([np.where(right, 0, 1)], truth(200), reading).interval()
        covered += low <= target <= high
    assert covered / REPEATS >= 0.94 - SLACK


@pytest.mark.parametrize("seed_sd", [0.0, 0.03, 0.06])
@pytest.mark.parametrize("seeds", [2, 3])
def test_methods_that_are_alike_are_seldom_called_better_or_worse(seed_sd, seeds):
    world, random = World(0.5, seed_sd), np.random.default_rng(3)
    wrong = 0
    for _ in range(REPEATS):
        images = world.images(200, random)
        verdict = compare(
            world.models(images, seeds, random), world.models(images, seeds, random), truth(200)
        ).verdict()
        wrong += verdict != "undecided"
    assert wrong / REPEATS <= 0.06 + SLACK


def test_a_difference_that_is_large_is_found():
    random = np.random.default_rng(4)
    worse, better = World(0.4, 0.01), World(0.6, 0.01)
    found = 0
    for _ in range(50):
        images = worse.images(500, random)
        models = better.models(np.clip(images + 0.2, 0, 1), 3, random)
        found += compare(models, worse.models(images, 3, random), truth(500)).verdict() == "better"
    assert found >= 45


def test_the_noise_that_seeds_and_images_share_is_that_of_the_two_way_layout():
    random = np.random.default_rng(7)
    seeds, n, noise = 4, 400, 0.3
    readings = random.normal(0, 1, (seeds, 1)) + random.normal(0, 1, (1, n)) + random.normal(0, noise, (seeds, n))
    assert shared_noise(readings) == pytest.approx(noise**2 / (seeds * n), rel=0.15)
    assert shared_noise(np.add.outer(np.arange(3.0), np.arange(9.0))) == pytest.approx(0, abs=1e-12)
    assert shared_noise(np.ones((3, 1))) == 0


def test_what_both_hold_is_at_most_what_images_do():
    """Two seeds that turn each other's images: their means do not vary, and nothing may be taken off."""
    first = np.arange(40) % 2
    estimate = over_units(np.array([first, 1 - first * (np.arange(40) > 1)], dtype=float))
    assert estimate.twice == pytest.approx(estimate.parts[0].variance)
    assert shared_noise(np.array([first, 1 - first])) > over_units(np.array([first, 1 - first])).twice == 0


def test_attack_seeds_of_one_model_have_the_interval_of_as_many_training_seeds():
    random = np.random.default_rng(8)
    runs = [[random.integers(2, size=(1, 50))] for _ in range(3)]
    nested, alone = (
        measured({(0, seed): run for seed, run in enumerate(runs)}, truth(50)),
        measured({(seed, 0): run for seed, run in enumerate(runs)}, truth(50)),
    )
    assert (nested.low, nested.high) == (alone.low, alone.high)


def test_the_jackknife_of_a_mean_is_its_variance():
    values = np.random.default_rng(5).random(30)
    left_out = (values.sum() - values) / 29
    assert jackknife(left_out).variance == pytest.approx(values.var(ddof=1) / 30)


def test_a_reading_of_more_than_half_of_the_draws_has_no_interval():
    labels = np.random.default_rng(6).integers(2, size=(8, 20))
    with pytest.raises(TooFewDraws, match=r"any 5 of 8 draws has no interval; set evaluate.draws to 20"):
        of_model([labels], truth(20), Reading("any", 5))


def test_the_interval_of_two_seeds_holds_both():
    # Two models of 2 and 15 % on 200 images: an interval of 5 to 12.5 held neither.
    models = [[np.where(np.arange(200) < right, 0, 1)[None]] for right in (4, 30)]
    low, high = over_seeds(models, truth(200)).interval()
    assert low <= 0.02 < 0.15 <= high
