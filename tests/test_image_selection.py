"""Subsets by class: proportional, seeded, and the same for whoever asks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import robuststack as rs
from robuststack.image_selection import limited, sampled
from robuststack.plan.specs import ImageSelection

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 3))
def test_each_class_has_its_share_up_to_rounding(labels, share, seed):
    count = round(share * len(labels))
    rows = rs.stratified(labels, count, seed=seed)
    assert len(rows) == len(set(rows.tolist())) == count
    assert rows.tolist() == sorted(rows.tolist())
    for label in set(labels.tolist()):
        exact = count * (labels == label).mean()
        assert np.floor(exact - 1e-9) <= (labels[rows] == label).sum() <= np.ceil(exact + 1e-9)


@given(labels=LABELS, share=st.floats(0, 1))
def test_as_many_as_asked_are_left_of_each_class(labels, share):
    rows = rs.stratified(labels, round(share * len(labels)), seed=0, leave=1)
    left = np.delete(labels, rows)
    assert set(left.tolist()) == set(labels.tolist())


def test_the_largest_remainders_round_up():
    labels = np.array([0] * 50 + [1] * 26 + [2] * 24)
    assert np.bincount(labels[rs.stratified(labels, 10, seed=0)]).tolist() == [5, 3, 2]


def test_the_seed_decides_and_nothing_else():
    labels = np.arange(100) % 10
    first, again, other = (rs.stratified(labels, 30, seed=seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    np.random.seed(7)
    assert rs.stratified(labels, 30, seed=0).tolist() == first


def test_a_small_count_does_not_always_take_the_first_classes():
    labels = np.arange(10)
    taken = {label for seed in range(20) for label in labels[rs.stratified(labels, 2, seed=seed)].tolist()}
    assert len(taken) > 5


@pytest.mark.parametrize(("limit", "count"), [(None, 9), (9, 9), (100, 9), (3, 3), (1, 1)])
@pytest.mark.parametrize("rule", ["stratified", "first"])
def test_a_limit_takes_no_more_than_there_is(limit, count, rule):
    rows = limited(np.arange(9) // 3, limit, rule)
    assert len(rows) == count
    if rule == "first" or count == 9:
        assert rows.tolist() == list(range(count))


def test_the_images_of_a_limit_never_change():
    """Leaderboards are compared image by image."""
    assert limited(np.arange(40) // 10, 8, "stratified").tolist() == [3, 8, 16, 17, 20, 26, 30, 37]


@given(labels=LABELS, count=st.integers(1, 70), others=st.integers(1, 70))
def test_a_sample_and_the_images_besides_it_share_none(labels, count, others):
    rows, besides = sampled(labels, count), sampled(labels, others, besides=count)
    assert len(rows) == min(count, len(labels))
    assert len(besides) == min(others, len(labels) - len(rows))
    assert not set(rows.tolist()) & set(besides.tolist())
    for chosen in (rows, besides):
        assert chosen.tolist() == sorted(chosen.tolist())


@given(labels=LABELS, limit=st.none() | st.integers(1, 70), count=st.integers(1, 70), besides=st.integers(0, 70))
def test_a_sample_is_of_the_images_that_the_limit_takes(labels, limit, count, besides):
    whole = ImageSelection(split="test", limit=limit, rule="stratified" if limit else None)
    sample = whole.sampled(count, besides)
    rows = sample.rows(labels)
    assert set(rows.tolist()) <= set(whole.rows(labels).tolist())
    assert len(rows) == sample.count(len(labels))


def test_a_selection_without_a_sample_is_the_same_job_as_ever():
    whole = ImageSelection(split="test", limit=8, rule="stratified")
    assert whole.identity() == {"split": "test", "limit": 8, "rule": "stratified"}
    assert ImageSelection.model_validate(whole.plain()) == whole
    sample = whole.sampled(4, besides=2)
    assert sample.identity()["sample"] == {"count": 4, "besides": 2}
    assert ImageSelection.model_validate(sample.plain()) == sample


def test_the_images_of_a_sample_never_change():
    """An audit is cached, and repeated on another machine."""
    labels = np.arange(40) // 10
    assert sampled(labels, 8).tolist() == [3, 8, 10, 19, 22, 28, 38, 39]
    assert sampled(labels, 4, besides=8).tolist() == [4, 11, 23, 32]
