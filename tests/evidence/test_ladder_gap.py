"""What knowledge is worth: the gap between two rungs, its pairing and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from robuststack.evidence.ladder import gap

TRUTH = np.zeros(200, int)


def labels(random: np.random.RandomState, chance: np.ndarray, draws: int) -> np.ndarray:
    """Labels [draws, n] that are right with each image's chance."""
    return (random.rand(draws, len(chance)) >= chance).astype(int)


def test_the_gap_is_the_difference_of_the_figures():
    random = np.random.RandomState(0)
    adaptive = [[[labels(random, np.full(200, 0.7), 20)]]]
    known = [[[labels(random, np.full(200, 0.5), 1)] for _ in range(5)]]
    found = gap(adaptive, known, TRUTH)
    expected = (adaptive[0][0][0] == 0).mean() - np.mean([run[0] == 0 for run in known[0]])
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_a_rung_against_itself_is_nothing_but_what_the_images_cannot_exclude():
    random = np.random.RandomState(1)
    same = [[[labels(random, np.full(200, 0.7), 20)]]]
    found = gap(same, same, TRUTH)
    assert found.value == 0.0
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / 200))


def test_fresh_draws_are_paired():
    """Draws that both rungs share cancel, draws that they do not share do not."""
    random = np.random.RandomState(2)
    shift = random.rand(20, 1) * 0.6
    chance = random.rand(1, 200)
    first, second = ((chance + shift > limit).astype(int) for limit in (0.8, 0.9))
    paired = gap([[[first]]], [[[second]]], TRUTH)
    apart = gap([[[first]]], [[[second[::-1].copy()]]], TRUTH)
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


def test_bakes_that_differ_widen_the_interval():
    """Planted: five baked draws of one model that are all alike say less about other draws than it seems."""
    random = np.random.RandomState(3)
    adaptive = [[[labels(random, np.full(200, 0.8), 20)]]]
    alike = gap(adaptive, [[[labels(random, np.full(200, 0.5), 1)] for _ in range(5)]], TRUTH)
    differing = gap(
        adaptive, [[[labels(random, np.full(200, share), 1)] for share in (0.1, 0.3, 0.5, 0.7, 0.9)]], TRUTH
    )
    assert differing.high - differing.low > 2 * (alike.high - alike.low)


def test_two_seeds_whose_gaps_vary_say_little_of_a_third():
    """Seeds move the gap by 8 points; with degrees of freedom that images share, the interval held it 89 times in 100."""
    random = np.random.RandomState(5)
    covered = 0
    for _ in range(200):
        image = random.choice([0.0, 0.5, 1.0], 200, p=[0.4, 0.2, 0.4])
        first, second = (
            [[[labels(random, np.clip(image + random.normal(0, 0.06), 0, 1), 1)]] for _ in range(2)] for _ in range(2)
        )
        between = gap(first, second, TRUTH)
        covered += between.low <= 0 <= between.high
    assert covered >= 188


@pytest.mark.parametrize("seeds", [1, 3])
def test_its_interval_covers_the_truth(seeds):
    """Seeds and bakes move the figures by a few points; the gap is 20 points. 300 repeats, so that 95 % is 92 to 98."""
    random = np.random.RandomState(4)
    covered = 0
    for _ in range(300):
        image = np.clip(random.normal(0.6, 0.2, 200), 0, 1)
        models, known = [], []
        for _ in range(seeds):
            moved = random.normal(0, 0.02 if seeds > 1 else 0.0)
            models.append([[labels(random, np.clip(image + 0.1 + moved, 0, 1), 20)]])
            bakes = random.normal(0, 0.03, 5)
            known.append([[labels(random, np.clip(image - 0.1 + moved + bake, 0, 1), 1)] for bake in bakes])
        expected = np.clip(image + 0.1, 0, 1).mean() - np.clip(image - 0.1, 0, 1).mean()
        found = gap(models, known, TRUTH)
        covered += found.low <= expected <= found.high
    assert covered >= 276
