"""Where the variance of a row's figures comes from, from the labels behind it."""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.components import Component, components
from robuststack.evidence.worst_attack import worst_outcomes
from robuststack.leaderboard.figures import Jobs, LabelsOf
from robuststack.leaderboard.row import CLEAN, WORST, VariancePart
from robuststack.leaderboard.row_labels import run_of


def variance(jobs: Jobs, labels: LabelsOf) -> dict[str, dict[str, VariancePart]]:
    """The parts of clean accuracy and of the worst case, by one protocol; empty if baked draws stand for the model."""
    if any(run.count("/") > 1 for run in jobs[CLEAN]):
        return {}
    attacks = [label for label in jobs if label != CLEAN]
    return {figure: _parts(jobs, labels, made_of) for figure, made_of in ((CLEAN, [CLEAN]), (WORST, attacks))}


def _parts(jobs: Jobs, labels: LabelsOf, made_of: Sequence[str]) -> dict[str, VariancePart]:
    right = {}
    for run in jobs[made_of[0]]:
        judged = [labels(jobs[figure][run]) for figure in made_of]
        right[run_of(run)] = worst_outcomes([of_attack.labels for of_attack in judged], judged[0].truth)
    return {part.name: _rounded(part) for part in components(right)}


def _rounded(part: Component) -> VariancePart:
    sd, low, high = (None if number is None else round(number, 4) for number in (part.sd, part.low, part.high))
    return VariancePart(sd=sd, low=low, high=high)
