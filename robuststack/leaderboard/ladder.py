"""The ladder of a row: its rungs in the order of what the attacker knows, and how far they lie from the headline."""

from __future__ import annotations

from collections.abc import Mapping

from robuststack.evidence.ladder import Gap, gap
from robuststack.leaderboard.figures import Jobs, LabelsOf
from robuststack.leaderboard.record import percent
from robuststack.leaderboard.row import CLEAN, Figure, LadderGap, Row
from robuststack.leaderboard.row_labels import labels_of_jobs
from robuststack.suite.ladder import ADAPTIVE, FROZEN_KNOWN, OFF, RUNGS, SURROGATE

ORDER = (OFF, SURROGATE, ADAPTIVE, FROZEN_KNOWN)


def ladder_gaps(jobs: Mapping[str, Jobs], labels: LabelsOf) -> dict[str, LadderGap]:
    """Rung -> robust accuracy by `adaptive` minus that by the rung, worst case, in points; none without both. `jobs` are
    those of each protocol, and `labels` gives those of a judge job."""
    if ADAPTIVE not in jobs:
        return {}
    worst = {
        protocol: labels_of_jobs([of_attack for figure, of_attack in figures.items() if figure != CLEAN], labels)
        for protocol, figures in jobs.items()
        if protocol in ORDER
    }
    adaptive = worst[ADAPTIVE]
    return {rung: _rounded(gap(adaptive.models, worst[rung].models, adaptive.truth)) for rung in RUNGS if rung in worst}


def _rounded(difference: Gap) -> LadderGap:
    return LadderGap(value=percent(difference.value), low=percent(difference.low), high=percent(difference.high))


def rungs(row: Row) -> dict[str, Figure]:
    """Rung -> the row's robust accuracy, worst case, from the attacker who knows least; empty without a ladder."""
    worst = {rung: row.scores[rung].worst for rung in ORDER if rung in row.scores}
    return worst if any(rung in RUNGS for rung in worst) else {}
