"""Readings: against closed forms, against enumeration, and by simulation."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws
from robuststack.evidence.worst_attack import deciding, worst_outcomes, worst_over_attacks, worst_without_each_draw

SIZES = (1, 5, 9)
FLIPS = (0.5, 0.7, 0.9, 0.99)


def drawn(q: float, draws: int, n: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a model that is right with probability q, each draw by itself, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=n)
    wrong = (truth + random.integers(1, classes, size=(draws, n))) % classes
    return np.where(random.random((draws, n)) < q, truth, wrong), truth


def by_hand(reading: Reading, column: list[int], truth: int) -> float:
    """The mean over all subsets of draws: what the formulas count."""
    if reading.kind == "expected":
        return sum(label == truth for label in column) / len(column)
    values = []
    for subset in itertools.combinations(column, reading.size):
        votes = Counter(subset)
        most = max(votes.values())
        winners = [label for label, count in votes.items() if count == most]
        if reading.kind == "any":
            values.append(float(all(label == truth for label in subset)))
        else:
            values.append(1 / len(winners) if truth in winners else 0.0)
    return sum(values) / len(values)


READINGS = st.one_of(
    st.just(EXPECTED),
    st.builds(Reading, st.just("majority"), st.integers(1, 4)),
    st.builds(Reading, st.just("any"), st.integers(1, 4)),
)


@settings(max_examples=200, deadline=None)
@given(READINGS, st.lists(st.integers(-1, 4), min_size=5, max_size=8), st.integers(0, 3))
def test_a_reading_is_the_mean_over_all_subsets_of_draws(reading, column, truth):
    labels = np.array(column)[:, None]
    assert reading.per_image(labels, np.array([truth]))[0] == pytest.approx(by_hand(reading, column, truth), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(READINGS, st.integers(0, 1000))
def test_leaving_a_draw_out_is_reading_the_others(reading, seed):
    labels, truth = drawn(0.6, 7, 12, seed, classes=4)
    left_out = reading.without_each_draw(labels, truth)
    expected = [reading.per_image(np.delete(labels, draw, axis=0), truth) for draw in range(len(labels))]
    np.testing.assert_allclose(left_out, expected, atol=1e-12)


@pytest.mark.parametrize("q", FLIPS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["expected", "majority", "any"])
def test_closed_forms_lie_within_three_standard_errors(kind, size, q):
    reading = Reading(kind, 1 if kind == "expected" else size)
    labels, truth = drawn(q, 36, 4000, seed=size)
    values = reading.per_image(labels, truth)
    expected = {"expected": q, "any": q**size, "majority": float(binom.sf(size // 2, size, q))}[kind]
    # Where no image differs, what so many images cannot exclude.
    error = max(values.std(ddof=1) / math.sqrt(len(values)), 1 / len(values))
    assert abs(values.mean() - expected) <= 3 * error


def test_a_label_of_no_class_is_never_right_and_votes_for_nothing_of_use():
    labels, truth = np.array([[-1], [-1], [0], [0]]), np.array([0])
    assert EXPECTED.per_image(labels, truth)[0] == 0.5
    assert Reading("any", 2).per_image(labels, truth)[0] == pytest.approx(1 / 6)


@pytest.mark.parametrize("reading", [Reading("majority", 5), Reading("any", 9)])
def test_more_draws_than_were_kept_are_refused_with_what_would_do(reading):
    with pytest.raises(TooFewDraws, match=rf"needs {reading.size} judging draws, not 4; set evaluate.draws to"):
        reading.per_image(np.zeros((4, 2), dtype=int), np.zeros(2, dtype=int))


def test_a_plain_minimum_of_noisy_means_is_too_low_and_the_cross_fitted_one_is_not():
    # Five attacks that are all alike: the worst of them is any of them.
    truth = np.ones(3000, dtype=int)
    labels = [np.where(np.random.default_rng(seed).random((20, 3000)) < 0.6, 1, 0) for seed in range(5)]
    plain = np.min([EXPECTED.per_image(attack, truth) for attack in labels], axis=0).mean()
    fitted = worst_over_attacks(EXPECTED, labels, truth).mean()
    assert plain < 0.52
    assert fitted == pytest.approx(0.6, abs=0.01)


@settings(max_examples=100, deadline=None)
@given(READINGS, st.integers(0, 1000), st.integers(1, 12), st.integers(1, 4))
def test_the_worst_is_never_above_what_one_attack_leaves(reading, seed, draws, attacks):
    """Two attacks that are much alike: the choice between them on half of the draws is as good as random."""
    if draws < reading.size:
        return
    labels = [drawn(0.6 + 0.02 * number, draws, 60, seed + number, classes=3)[0] for number in range(attacks)]
    truth = drawn(0.6, draws, 60, seed, classes=3)[1]
    worst = worst_over_attacks(reading, labels, truth).mean()
    assert worst <= min(reading.per_image(attack, truth).mean() for attack in labels) + 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 8, 20]), st.integers(1, 4))
def test_the_worst_draw_by_draw_has_the_same_mean(seed, draws, attacks):
    labels = [drawn(0.6, draws, 40, seed + number, classes=3)[0] for number in range(attacks)]
    truth = drawn(0.6, draws, 40, seed, classes=3)[1]
    outcomes = worst_outcomes(labels, truth)
    assert outcomes.shape == (draws, 40)
    np.testing.assert_allclose(outcomes.mean(0), worst_over_attacks(EXPECTED, labels, truth))


@settings(max_examples=60, deadline=None)
@given(READINGS, st.integers(0, 1000), st.sampled_from([1, 2, 8, 20]), st.permutations(range(3)))
def test_the_order_of_attacks_means_nothing(reading, seed, draws, order):
    """With few draws many attacks tie on an image, and a suite lists them in another order than a file does."""
    if draws <= reading.size:
        return
    labels = [drawn(0.6, draws, 40, seed + number, classes=3)[0] for number in range(3)]
    truth = drawn(0.6, draws, 40, seed, classes=3)[1]
    other = [labels[place] for place in order]
    for worst in (worst_over_attacks, worst_without_each_draw):
        np.testing.assert_allclose(worst(reading, other, truth), worst(reading, labels, truth))
    np.testing.assert_allclose(worst_outcomes(other, truth), worst_outcomes(labels, truth))


def test_the_worst_of_deterministic_points_is_the_minimum():
    truth = np.array([0, 0, 0])
    first, second = np.array([[0, 1, 0]]), np.array([[1, 0, 0]])
    assert worst_over_attacks(EXPECTED, [first, second], truth).tolist() == [0, 0, 1]


@settings(max_examples=50, deadline=None)
@given(READINGS, st.integers(0, 1000))
def test_the_worst_without_a_draw_keeps_the_halves(reading, seed):
    attacks = [drawn(0.6, 12, 9, seed + number, classes=3)[0] for number in range(3)]
    truth = drawn(0.6, 12, 9, seed, classes=3)[1]
    left_out = worst_without_each_draw(reading, attacks, truth)
    alone = deciding(reading, attacks, truth)
    if alone:
        expected = np.mean([reading.without_each_draw(attacks[place], truth) for place in alone], axis=0)
        np.testing.assert_allclose(left_out, expected)
        return
    for draw in range(12):
        even, odd = ([row for row in range(start, 12, 2) if row != draw] for start in (0, 1))
        scores = []
        for choosing, scoring in ((even, odd), (odd, even)):
            chosen = np.array([reading.per_image(labels[choosing], truth) for labels in attacks])
            scored = np.array([reading.per_image(labels[scoring], truth) for labels in attacks])
            scores.append([scored[chosen[:, image] == chosen[:, image].min(), image].mean() for image in range(9)])
        np.testing.assert_allclose(left_out[draw], np.mean(scores, axis=0), atol=1e-12)
