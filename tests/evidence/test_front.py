"""Fronts: what the resamples agree on, and an interval that covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststack.evidence.front import dominated, hypervolume, knee, robust_at
from robuststack.evidence.redrawn_front import Front, SettingReading, compare_fronts, front_of
from robuststack.evidence.row_reading import RowReading, read_row
from robuststack.evidence.variance import Attacks
from simulation import World, truth

Labels = tuple[Sequence[Attacks], Sequence[Attacks]]
"""Of one operating point: those of each training seed's model, on clean images and under attack."""


def front(settings: Sequence[Labels], truth: np.ndarray) -> Front:
    read = [[read_row([[attacks] for attacks in models], truth) for models in labels] for labels in settings]
    return front_of([SettingReading(clean, robust) for clean, robust in read])


def setting(clean: float, robust: float, n: int = 400, seeds: int = 1) -> Labels:
    def labels(accuracy: float) -> list[list[np.ndarray]]:
        return [[np.where(np.arange(n) < round(accuracy * n), 0, 1)[None]] for _ in range(seeds)]

    return labels(clean), labels(robust)


def test_a_clear_front_is_agreed_on():
    result = front([setting(0.99, 0.05), setting(0.9, 0.6), setting(0.6, 0.65), setting(0.5, 0.3)], truth(400))
    assert result.points[1].tolist() == pytest.approx([90, 60])
    assert result.knee == 1
    assert result.knee_share > 0.95
    assert result.dominated.tolist() == [False, False, False, True]
    assert result.dominated_share[3] > 0.95
    assert result.dominated_share[0] == 0
    assert result.low < result.hypervolume < result.high


def test_settings_that_are_alike_are_not_agreed_on():
    random = np.random.default_rng(0)
    world = World(0.6)
    images = world.images(300, random)
    alike = [(world.models(images, 3, random), world.models(images, 3, random)) for _ in range(2)]
    result = front(alike, truth(300))
    assert max(result.dominated_share) < 0.95


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_image_says_next_to_nothing(seeds):
    result = front([setting(1.0, 0.0, 1, seeds), setting(1.0, 1.0, 1, seeds)], truth(1))
    assert result.hypervolume == 100
    assert result.low < 0.05 * result.hypervolume
    assert result.high == result.hypervolume


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_the_hypervolume_covers(seeds):
    random = np.random.default_rng(1)
    worlds = [(World(0.95), World(0.3)), (World(0.8), World(0.6))]
    target, covered, repeats = float(hypervolume(np.array([[95, 30], [80, 60]]))), 0, 100
    for _ in range(repeats):
        points = [
            (
                clean.models(clean.images(300, random), seeds, random),
                robust.models(robust.images(300, random), seeds, random),
            )
            for clean, robust in worlds
        ]
        result = front(points, truth(300))
        covered += result.low <= target <= result.high
    assert covered / repeats >= 0.93 - 3 * (0.07 * 0.93 / repeats) ** 0.5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=6))
def test_the_area_is_that_of_the_cells_that_are_dominated(pairs):
    points = 10.0 * np.array(pairs)
    cells = [any(x < ca and y < ra for ca, ra in pairs) for x in range(10) for y in range(10)]
    assert hypervolume(points) == pytest.approx(sum(cells))
    expected = [any(o[0] >= p[0] and o[1] >= p[1] and o != p for o in pairs) for p in pairs]
    assert dominated(points).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=6))
def test_a_front_dominates_all_and_itself_nowhere(pairs):
    points = np.array(pairs, dtype=float)
    front_points = points[~dominated(points)]
    assert not dominated(front_points).any()
    for point in points[dominated(points)]:
        assert dominated(np.vstack([point, front_points]))[0]


def test_the_hypervolume_of_a_staircase():
    assert hypervolume(np.array([[100.0, 100.0]])) == 100
    assert hypervolume(np.array([[90.0, 0.0], [80.0, 50.0]])) == 40  # No robustness adds nothing.
    assert hypervolume(np.array([[90.0, 40.0], [60.0, 70.0]])) == pytest.approx(90 * 0.4 + 60 * 0.3)


def test_the_knee_bulges_most():
    assert knee(np.array([[100.0, 0.0], [95.0, 60.0], [60.0, 70.0]])) == 1
    assert knee(np.array([[60.0, 70.0], [95.0, 60.0], [100.0, 0.0], [50.0, 60.0]])) == 1  # In any order.
    assert knee(np.array([[100.0, 0.0], [50.0, 50.0], [0.0, 100.0]])) == -1  # A line has none.
    assert knee(np.array([[100.0, 0.0], [40.0, 40.0], [0.0, 100.0]])) == -1  # Neither has a dent.
    assert knee(np.array([[100.0, 0.0], [0.0, 100.0]])) == -1
    assert knee(np.array([[100.0, 0.0]])) == -1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=6), st.integers(0, 20))
def test_between_settings_a_front_is_a_line(pairs, ca):
    points = np.array(pairs, dtype=float)
    line = np.unique(points[~dominated(points)], axis=0)
    assert robust_at(line, np.asarray(float(ca))) == pytest.approx(np.interp(ca, line[:, 0], line[:, 1]))


def readings(ca: float, ra: float, n: int = 400, seeds: int = 1) -> SettingReading:
    """A setting that is right on the first images, the same in every seed."""

    def right(share: float) -> RowReading:
        return RowReading(np.tile((np.arange(n) < round(share * n)).astype(float), (seeds, 1)))

    return SettingReading(right(ca), right(ra))


def test_two_defenses_are_compared_at_equal_clean_accuracy():
    line = [readings(0.95, 0.2), readings(0.75, 0.6)]
    middle = [readings(0.85, 0.5), readings(0.5, 0.55)]
    pair = compare_fronts(middle, line, (0, 1))
    # Half way between the settings of the line it has 40 %; the middle is 10 points above.
    assert pair.at_first_ca.value == pytest.approx(10, abs=1e-6)
    assert pair.at_first_ca.low < 10 < pair.at_first_ca.high
    # At 75 %: the other defense has 50 and a bit at no less, the line's own setting 60.
    assert pair.at_second_ca.value == pytest.approx(50 + 5 * 10 / 35 - 60, abs=1e-6)
    assert pair.hypervolume.value == pytest.approx(100 * (0.85 * 0.5 + 0.5 * 0.05 - 0.95 * 0.2 - 0.75 * 0.4))
    turned = compare_fronts(line, middle, (1, 0))
    assert turned.at_second_ca.value == pytest.approx(-10, abs=1e-6)
    # No setting of the middle is as accurate as the line's first.
    assert compare_fronts(middle, line, (0, 0)).at_second_ca is None


def test_seeds_move_the_settings_of_a_defense_together():
    """Seeds that shift all settings alike leave the knee where it is and widen the hypervolume."""

    def moving(ca: float, ra: float, spread: float) -> SettingReading:
        reading = readings(ca, ra, seeds=3)
        moved = RowReading(reading.robust.models + spread * np.array([[-1], [0], [1]]))
        return SettingReading(reading.clean, moved)

    still, shifted = (
        front_of([moving(0.99, 0.05, spread), moving(0.9, 0.5, spread), moving(0.6, 0.55, spread)])
        for spread in (0.0, 0.04)
    )
    assert shifted.knee == still.knee == 1
    assert shifted.knee_share > 0.9
    assert shifted.high - shifted.low > 1.5 * (still.high - still.low)
