"""Intervals, limits and p-values of a figure whose variance has parts: they say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from robuststack.evidence.estimate import LEAST_P, Estimate, Part, SeedsEstimate
from robuststack.evidence.proportions import LEVEL


def test_satterthwaite_lies_between_its_parts():
    estimate = Estimate(0.5, (Part(0.01, 2), Part(0.01, 100)))
    assert 2 < estimate.freedom < 102
    assert Estimate(0.5, (Part(0.01, 2), Part(0.0, 100))).freedom == pytest.approx(2)


def test_seeds_have_a_quantile_of_their_own():
    # 12.706 is Student's quantile of one degree of freedom, 1.984 that of 99; hypot adds what is independent.
    seeds = Part(0.01**2, 1)
    estimate = SeedsEstimate(0.5, (Part(0.02**2, 99), seeds), seeds, 0.0)
    assert estimate.half_width() == pytest.approx(np.hypot(0.12706, 0.03968), rel=1e-3)
    assert estimate.interval() == pytest.approx((0.5 - estimate.half_width(), 0.5 + estimate.half_width()))
    assert estimate.quantile(0.025) == pytest.approx(-estimate.quantile(0.975))


def test_what_seeds_and_images_both_hold_is_taken_off_once():
    seeds = Part(0.01**2, 4)
    estimate = SeedsEstimate(0.5, (Part(0.02**2, 99), seeds), seeds, 0.005**2)
    assert estimate.half_width() == pytest.approx((0.027764**2 + 0.03968**2 - 0.00992**2) ** 0.5, rel=1e-3)
    # Seeds that are alike by chance do not make the images' part smaller.
    alike = Part(0.0, 4)
    estimate = SeedsEstimate(0.5, (Part(0.02**2, 99), alike), alike, 0.005**2)
    assert estimate.half_width() == pytest.approx(0.03968, rel=1e-3)


def seeds_estimate(
    value: float, count: int, of_seeds: float, of_images: float, shared: float, n: int = 200
) -> SeedsEstimate:
    """Standard errors of seeds and of images; what both hold as a share of the images' part."""
    seeds = Part(of_seeds**2, count - 1)
    return SeedsEstimate(value, (Part(of_images**2, n - 1), seeds), seeds, shared * of_images**2)


deviations = st.floats(1e-6, 0.3) | st.just(0.0)
estimates = st.builds(
    seeds_estimate, st.floats(-1, 1), st.integers(2, 30), deviations, deviations, st.floats(0, 1), st.integers(3, 300)
)


@settings(max_examples=300, deadline=None)
@given(estimates)
def test_the_p_value_and_the_interval_never_contradict_each_other(estimate):
    low, high = estimate.interval()
    p = estimate.p_other_than_zero()
    if estimate.variance:
        assert (p < 1 - LEVEL) == (not low <= 0 <= high)
        assert (estimate.p_above() < (1 - LEVEL) / 2) == (low > 0)
        assert estimate.p_above() + SeedsEstimate(
            -estimate.value, estimate.parts, estimate.seeds, estimate.twice
        ).p_above() == pytest.approx(1)
    if estimate.variance and 1e-9 < p < 0.99:
        assert estimate.half_width(1 - p) == pytest.approx(abs(estimate.value), rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(estimates, st.lists(st.floats(0.5, 0.9999), min_size=2, max_size=2))
def test_a_surer_interval_is_no_narrower(estimate, levels):
    narrow, wide = (estimate.half_width(level) for level in sorted(levels))
    assert narrow <= wide * (1 + 1e-9)


def test_rounding_does_not_part_a_verdict_from_its_interval():
    random = np.random.default_rng(1)
    for _ in range(200):
        count, of_seeds, of_images, shared = random.integers(2, 6), *random.uniform(0.001, 0.1, 3)
        edge = seeds_estimate(0.0, int(count), of_seeds, of_images, shared).half_width()
        at, beyond = (
            seeds_estimate(value, int(count), of_seeds, of_images, shared)
            for value in (edge, math.nextafter(edge, 1e9))
        )
        assert at.p_other_than_zero() >= 1 - LEVEL > beyond.p_other_than_zero()


def test_the_p_value_of_one_part_alone_is_students():
    for value, count in ((0.02, 2), (0.05, 3), (-0.5, 3), (0.0, 4)):
        of_seeds = seeds_estimate(value, count, 0.01, 0.0, 0.0)
        assert of_seeds.p_other_than_zero() == pytest.approx(2 * student.sf(abs(value) / 0.01, count - 1))
        of_images = seeds_estimate(value / 10, count, 0.0, 0.01, 0.0)
        assert of_images.p_other_than_zero() == pytest.approx(2 * student.sf(abs(value) / 0.1, 199))


def test_a_p_value_is_searched_down_to_a_least_one():
    assert seeds_estimate(0.5, 3, 0.0, 1e-4, 0.0, n=5000).p_other_than_zero() == pytest.approx(LEAST_P)


def test_few_seeds_that_are_alike_by_chance_are_no_evidence():
    """Degrees of freedom that seeds and images share are those of the images."""
    estimate = seeds_estimate(0.045, 2, 0.004, 0.02, 0.0)
    assert Estimate(estimate.value, estimate.parts).p_other_than_zero() < 0.05 < estimate.p_other_than_zero()
