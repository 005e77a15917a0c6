"""Figures of rows from labels: readings of a model whose chance to flip is known, and what a vote costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from robuststack.evidence.readings import Reading, TooFewDraws
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.figures import figures, read_scores
from robuststack.leaderboard.row import Latency

LATENCY = {1: Latency(median=2.0, low=1.0, high=4.0, relative=1.5)}


def labels_of(draws: int, n: int = 2000, **chances: float) -> tuple[dict[str, dict[str, str]], dict[str, Labels]]:
    """Jobs and labels of a row whose model is right with a given chance, each draw by itself, under each attack."""
    random, truth = np.random.default_rng(draws), np.zeros(n, dtype=np.int8)
    labels = {
        name: Labels(np.where(random.random((draws, n)) < q, 0, 1).astype(np.int8), truth, "images")
        for name, q in chances.items()
    }
    return {name: {"0/0": name} for name in chances}, labels


@pytest.mark.parametrize("q", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("size", [1, 5, 9])
@pytest.mark.parametrize("kind", ["majority", "any"])
def test_a_row_of_known_flip_probability_reads_as_the_closed_form(kind, size, q):
    jobs, labels = labels_of(36, ca=0.99, pgd=q)
    read = read_scores(jobs, labels.__getitem__, Reading(kind, size), macs=10, latency_ms={})
    for figure, chance in ((read.ca, 0.99), (read.ra["pgd"], q), (read.worst, q)):
        expected = chance**size if kind == "any" else float(binom.sf(size // 2, size, chance))
        per_image = Reading(kind, size).per_image(
            labels["pgd" if figure is not read.ca else "ca"].labels, np.zeros(2000)
        )
        error = max(per_image.std(ddof=1) / math.sqrt(2000), 1 / 2000)
        assert abs(figure.value / 100 - expected) <= 3 * error
        assert figure.low <= figure.value <= figure.high


def test_a_vote_costs_its_passes_and_tries_cost_one():
    jobs, labels = labels_of(20, n=50, ca=0.9, pgd=0.6)
    vote, tries = (
        read_scores(jobs, labels.__getitem__, reading, macs=10, latency_ms=LATENCY)
        for reading in (Reading("majority", 5), Reading("any", 5))
    )
    assert (vote.passes, vote.macs) == (5, 50)
    assert vote.latency_ms[1] == Latency(median=10.0, low=5.0, high=20.0, relative=7.5)
    assert (tries.passes, tries.macs, tries.latency_ms) == (1, 10, LATENCY)


def test_a_deterministic_point_answers_alike_however_often_it_is_asked():
    jobs, labels = labels_of(1, n=200, ca=0.9, pgd=0.6)
    expected = figures(jobs, labels.__getitem__)
    vote = read_scores(jobs, labels.__getitem__, Reading("majority", 9), macs=10, latency_ms=LATENCY)
    assert (vote.ca.value, vote.ca.low, vote.worst.value) == (
        expected["ca"].value, expected["ca"].low, expected["worst"].value,
    )  # fmt: skip
    assert (vote.passes, vote.macs, vote.latency_ms) == (1, 10, LATENCY)


def test_more_than_half_of_the_draws_has_no_interval_and_more_than_all_no_figure():
    jobs, labels = labels_of(8, n=100, ca=0.9, pgd=0.6, fgsm=0.65)
    half, more = (
        read_scores(jobs, labels.__getitem__, Reading("any", size), macs=10, latency_ms={}) for size in (4, 5)
    )
    assert half.worst.low < half.worst.value < half.worst.high
    assert (more.worst.low, more.worst.high, more.worst.interval) == (None, None, "none")
    assert more.worst.text == f"{more.worst.value:.1f}"
    assert more.worst.value < half.worst.value
    with pytest.raises(TooFewDraws, match=r"any 9 needs 9 judging draws, not 8; set evaluate\.draws to 36"):
        read_scores(jobs, labels.__getitem__, Reading("any", 9), macs=10, latency_ms={})
