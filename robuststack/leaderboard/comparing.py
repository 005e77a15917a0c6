"""Two leaderboards of one suite, row by row: what changed, by how much, and whether that is evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.keys import Row, split_of
from robuststack.statistics import Difference, paired, unpaired

Outcomes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """One figure of a row in both leaderboards."""

    label: str
    figure: str
    """`CA`, or `RA` and the attack; behind it the protocol, in brackets, where it is not the headline's."""
    old: float
    new: float
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """All figures of the rows that both have, and the labels of those that only one has."""

    changes: list[Change]
    only_old: list[str]
    only_new: list[str]


def compare(
    old: Mapping[str, Any], new: Mapping[str, Any], old_outcomes: Outcomes, new_outcomes: Outcomes
) -> Comparison:
    """The new leaderboard against the old one. Where both have a row's per-sample outcomes, its images are paired.

    Raises:
        LeaderboardError: they are of different suites, or of different data.
    """
    if old["suite"] != new["suite"]:
        raise LeaderboardError(
            f"the leaderboards are of different suites, {old['suite']!r} and {new['suite']!r}; compare two of the same"
        )
    before, after = ({row["label"]: row for row in board["rows"]} for board in (old, new))
    changes = [
        change
        for label in before.keys() & after.keys()
        for change in _changes(before[label], after[label], old_outcomes, new_outcomes)
    ]
    order = {label: position for position, label in enumerate(before)}
    return Comparison(
        sorted(changes, key=lambda change: order[change.label]),
        [label for label in before if label not in after],
        [label for label in after if label not in before],
    )


def _changes(old: Row, new: Row, old_outcomes: Outcomes, new_outcomes: Outcomes) -> list[Change]:
    for key in ("dataset", "dataset_options", "split", "n"):
        before, after = (split_of(row) if key == "split" else row[key] for row in (old, new))
        if before != after:
            raise LeaderboardError(f"{old['label']}: {key} is {before!r} in the one and {after!r} in the other")
    return [
        Change(old["label"], figure, first["value"], second["value"], _difference(before, after, first, second, jobs))
        for before in _scored(old, old_outcomes)
        for after in _scored(new, new_outcomes)
        if before.protocol == after.protocol
        for figure, first, second, jobs in _figures(before, after)
    ]


@dataclass(frozen=True)
class _Scored:
    """A row by one protocol, and the per-sample outcomes of its leaderboard."""

    protocol: str
    headline: bool
    scores: Mapping[str, Any]
    """`ca` and `ra`."""
    jobs: Mapping[str, Mapping[str, str]]
    """Of clean accuracy and of each attack: pair of seeds -> job."""
    stochastic: bool
    outcomes: Outcomes


def _scored(row: Row, outcomes: Outcomes) -> list[_Scored]:
    """The headline first. Whether another protocol's victim draws noise is not on record: it is taken to."""
    one, jobs = row["protocol"], row["jobs"]
    return [
        _Scored(one, True, row, jobs[one], bool(row["stochastic"]), outcomes),
        *(_Scored(name, False, scores, jobs[name], True, outcomes) for name, scores in row["protocols"].items()),
    ]


Figure = tuple[str, Mapping[str, float], Mapping[str, float], Sequence[str]]


def _figures(old: _Scored, new: _Scored) -> list[Figure]:
    """What both have: its name, the figures, and which jobs they are made of."""
    attacks = [name for name in old.scores["ra"] if name in new.scores["ra"]]
    found: list[Figure] = [("CA", old.scores["ca"], new.scores["ca"], ["ca"])]
    for name in attacks:
        jobs = [one for one in attacks if one != "worst"] if name == "worst" else [name]
        found.append((f"RA {name}", old.scores["ra"][name], new.scores["ra"][name], jobs))
    if old.headline and new.headline:
        return found
    return [(f"{figure} ({old.protocol})", *rest) for figure, *rest in found]  # type: ignore[misc]


def _difference(
    old: _Scored, new: _Scored, first: Mapping[str, float], second: Mapping[str, float], jobs: Sequence[str]
) -> Difference:
    before, after = (_runs(one, jobs) for one in (old, new))
    if before and after:
        return paired(before, after, stochastic=(old.stochastic, new.stochastic))
    return unpaired(first, second)


def _runs(scored: _Scored, jobs: Sequence[str]) -> list[list[np.ndarray]]:
    """The outcomes, for each pair of seeds those of each attack; empty where one is not there."""
    of_attacks = [scored.jobs[name] for name in jobs]
    ids = [[one[pair] for one in of_attacks] for pair in of_attacks[0]]
    # Clean accuracy of a deterministic model is one job for all attack seeds: it counts once.
    ids = [list(one) for one in dict.fromkeys(tuple(one) for one in ids)]
    if not all(job in scored.outcomes for one in ids for job in one):
        return []
    return [[scored.outcomes[job] for job in one] for one in ids]
