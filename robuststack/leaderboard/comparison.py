"""Two leaderboards of one suite, row by row: what changed, by how much, and whether that is evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.row import WORST, Figure, Row, Scores
from robuststack.statistics import Difference, paired, unpaired

Outcomes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """One figure of a row in both leaderboards."""

    label: str
    figure: str
    """`CA`, or `RA` and the attack; behind it the protocol, in brackets, if it is not the headline's."""
    old: float
    new: float
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """All figures of the rows that both have, and the labels of those that only one has."""

    changes: list[Change]
    only_old: list[str]
    only_new: list[str]


def compare_boards(old: Board, new: Board, old_outcomes: Outcomes, new_outcomes: Outcomes) -> Comparison:
    """The new leaderboard against the old one. If both have a row's per-sample outcomes, its images are paired.

    Raises:
        LeaderboardError: they are of different suites, or of different data.
    """
    if old.suite != new.suite:
        raise LeaderboardError(
            f"the leaderboards are of different suites, {old.suite!r} and {new.suite!r}; compare two of the same"
        )
    before, after = old.by_label, new.by_label
    changes = [
        change
        for label in before
        if label in after
        for change in _changes(before[label], after[label], old_outcomes, new_outcomes)
    ]
    return Comparison(
        changes,
        [label for label in before if label not in after],
        [label for label in after if label not in before],
    )


def _changes(old: Row, new: Row, old_outcomes: Outcomes, new_outcomes: Outcomes) -> Iterator[Change]:
    for key in ("dataset", "dataset_options", "split", "n"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            raise LeaderboardError(f"{old.label}: {key} is {before!r} in the one and {after!r} in the other")
    for first in _scored(old, old_outcomes):
        for second in _scored(new, new_outcomes):
            if first.protocol == second.protocol:
                for figure in _figures(first, second):
                    difference = _difference(first, second, figure)
                    yield Change(old.label, figure.name, figure.old.value, figure.new.value, difference)


@dataclass(frozen=True)
class _Scored:
    """A row by one protocol, and the per-sample outcomes of its leaderboard."""

    protocol: str
    headline: bool
    scores: Scores
    jobs: Mapping[str, Mapping[str, str]]
    """Of clean accuracy and of each attack: pair of seeds -> job."""
    stochastic: bool
    outcomes: Outcomes


def _scored(row: Row, outcomes: Outcomes) -> list[_Scored]:
    """The headline first. Whether another protocol's victim draws noise is not on record: it is taken to."""
    return [
        _Scored(name, headline, scores, row.jobs.scores[name], row.stochastic if headline else True, outcomes)
        for name, scores in row.scores.items()
        for headline in (name == row.protocol,)
    ]


@dataclass(frozen=True)
class _Pair:
    """A figure that both rows have, and which jobs it is made of."""

    name: str
    old: Figure
    new: Figure
    jobs: Sequence[str]
    """Empty if the two are not made of the same attacks: no image has a pair then."""


def _figures(old: _Scored, new: _Scored) -> Iterator[_Pair]:
    behind = "" if old.headline and new.headline else f" ({old.protocol})"
    yield _Pair(f"CA{behind}", old.scores.ca, new.scores.ca, ["ca"])
    alike = set(old.scores.ra) == set(new.scores.ra)
    for label in old.scores.ra:
        if label not in new.scores.ra:
            continue
        jobs = [label] if label != WORST else old.scores.single_attacks if alike else []
        yield _Pair(f"RA {label}{behind}", old.scores.ra[label], new.scores.ra[label], jobs)


def _difference(old: _Scored, new: _Scored, figure: _Pair) -> Difference:
    before, after = (_runs(scored, figure.jobs) for scored in (old, new))
    if before and after:
        return paired(before, after, stochastic=(old.stochastic, new.stochastic))
    return unpaired(figure.old, figure.new)


def _runs(scored: _Scored, figures: Sequence[str]) -> list[list[np.ndarray]]:
    """The outcomes, for each pair of seeds those of each attack; empty if one of them is not there."""
    if not figures:
        return []
    jobs = [scored.jobs[figure] for figure in figures]
    # Clean accuracy of a deterministic model is one job for all attack seeds: it counts once.
    runs = dict.fromkeys(tuple(of_attack[pair] for of_attack in jobs) for pair in jobs[0])
    if not all(job in scored.outcomes for run in runs for job in run):
        return []
    return [[scored.outcomes[job] for job in run] for run in runs]
