"""The ladder of a row: its rungs in the order of what the attacker knows, and how far they lie from the headline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from robuststack.evidence.ladder import Gap, Models, gap
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.figures import Jobs
from robuststack.leaderboard.row import CLEAN, Figure, LadderGap, Row
from robuststack.leaderboard.row_labels import distinct_runs
from robuststack.suite.ladder import ADAPTIVE, FROZEN_KNOWN, OFF, RUNGS, SURROGATE

ORDER = (OFF, SURROGATE, ADAPTIVE, FROZEN_KNOWN)


def ladder_gaps(jobs: Mapping[str, Jobs], labels: Callable[[str], Labels]) -> dict[str, LadderGap]:
    """Rung -> robust accuracy by `adaptive` minus that by the rung, worst case, in points; none without both. `jobs` are
    those of each protocol, and `labels` gives those of a judge job."""
    if ADAPTIVE not in jobs:
        return {}
    adaptive, truth = _models(jobs[ADAPTIVE], labels)
    gaps = {}
    for rung in RUNGS:
        if rung in jobs:
            gaps[rung] = _rounded(gap(adaptive, _models(jobs[rung], labels)[0], truth))
    return gaps


def _models(jobs: Jobs, labels: Callable[[str], Labels]) -> tuple[Models, np.ndarray]:
    """The labels of each run of each training seed, and the truth."""
    attacks = [of_attack for figure, of_attack in jobs.items() if figure != CLEAN]
    models: dict[int, list[list[Labels]]] = {}
    for of_run, (training_seed, *_) in distinct_runs(attacks).items():
        models.setdefault(training_seed, []).append([labels(job) for job in of_run])
    truth = next(iter(models.values()))[0][0].truth
    return [[[judged.labels for judged in run] for run in runs] for runs in models.values()], truth


def _rounded(found: Gap) -> LadderGap:
    value, low, high = (round(100 * share, 4) for share in (found.value, found.low, found.high))
    return LadderGap(value=value, low=low, high=high)


def rungs(row: Row) -> dict[str, Figure]:
    """Rung -> the row's robust accuracy, worst case, from the attacker who knows least; empty without a ladder."""
    worst = {rung: row.scores[rung].worst for rung in ORDER if rung in row.scores}
    return worst if any(rung in RUNGS for rung in worst) else {}
