"""Two leaderboards of one suite, row by row: what changed, by how much, and whether that is evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.keys import Row
from robuststack.statistics import Difference, paired, unpaired

Outcomes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """One figure of a row in both leaderboards."""

    label: str
    figure: str
    """`CA`, or `RA` and the attack."""
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
    for key in ("dataset", "dataset_options", "n"):
        if old[key] != new[key]:
            raise LeaderboardError(f"{old['label']}: {key} is {old[key]!r} in the one and {new[key]!r} in the other")
    attacks = [name for name in old["ra"] if name in new["ra"]]
    found = [("CA", old["ca"], new["ca"], ["ca"])]
    for name in attacks:
        jobs = [one for one in attacks if one != "worst"] if name == "worst" else [name]
        found.append((f"RA {name}", old["ra"][name], new["ra"][name], jobs))
    return [
        Change(
            old["label"], figure, first["value"], second["value"],
            _difference((old, first, old_outcomes), (new, second, new_outcomes), jobs),
        )
        for figure, first, second, jobs in found
    ]  # fmt: skip


Side = tuple[Row, Mapping[str, float], Outcomes]


def _difference(old: Side, new: Side, jobs: Sequence[str]) -> Difference:
    runs = [_runs(row, outcomes, jobs) for row, _, outcomes in (old, new)]
    first, second = runs
    if first and second:
        return paired(first, second, stochastic=(bool(old[0]["stochastic"]), bool(new[0]["stochastic"])))
    return unpaired(old[1], new[1])


def _runs(row: Row, outcomes: Outcomes, jobs: Sequence[str]) -> list[list[np.ndarray]]:
    """The outcomes of a row, for each pair of seeds those of each attack; empty where one is not there."""
    of_attacks = [row["jobs"][row["protocol"]][name] for name in jobs]
    ids = [[one[pair] for one in of_attacks] for pair in of_attacks[0]]
    # Clean accuracy of a deterministic model is one job for all attack seeds: it counts once.
    ids = [list(one) for one in dict.fromkeys(tuple(one) for one in ids)]
    if not all(job in outcomes for one in ids for job in one):
        return []
    return [[outcomes[job] for job in one] for one in ids]
