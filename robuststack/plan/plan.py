"""A plan: the jobs of a suite in the order they run, and the rows that their results make.

Train jobs make models, draws jobs choose how many draws an attack averages over, attack jobs make images, judge jobs keep
what a setting of a model says of those or of the clean ones, game jobs attack mixtures of settings, measure jobs time and
count. Rows say which jobs they are made of. Jobs that come to the same work are one job.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.suite.ladder import ADAPTIVE
from robuststack.suite.suite import Suite

HEADLINE = ADAPTIVE

RunKey = tuple[int, ...]
"""What tells the runs of one figure apart: training seed, attack seed and, where a baked draw stands for the model, the
number of the draw."""


@dataclass(frozen=True)
class Score:
    """The judge jobs of one figure, one for each run; a figure is the mean over its runs."""

    jobs: Mapping[RunKey, str]
    stochastic: bool
    """Whether what is judged draws noise."""


@dataclass(frozen=True)
class RowPlan:
    """One row of the leaderboard: what it is about, and the jobs its figures come from."""

    label: str
    facts: Mapping[str, Any]
    train: Mapping[int, str]
    measure: str
    clean: Mapping[str, Score]
    """protocol -> the jobs of its clean accuracy."""
    robust: Mapping[str, Mapping[str, Score]]
    """protocol -> attack label -> jobs."""
    attacks: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """protocol -> attack label -> its options as they come out at this row's point, as they are printed."""

    images: Mapping[str, str]
    """Judge job -> the attack job whose images it judges."""
    shift: Mapping[str, Score] = field(default_factory=dict)
    """Label of a natural shift -> jobs, by the headline's protocol."""

    def jobs(self) -> set[str]:
        robust = [score for by_label in self.robust.values() for score in by_label.values()]
        scores = [*self.clean.values(), *robust, *self.shift.values()]
        judged = {job for score in scores for job in score.jobs.values()}
        return {*self.train.values(), self.measure, *judged, *self.images.values()}


@dataclass(frozen=True)
class GamePlan:
    """The knob of one tunable defense as a game: what it is about, and the jobs its figures come from."""

    variant: tuple[str, ...]
    defense: str
    shown: Mapping[str, Any]
    threat: Mapping[str, Any]
    settings: tuple[str, ...]
    """Each setting's operating point, as tables print it."""
    rows: tuple[tuple[str, ...], ...]
    """The labels of the leaderboard's rows that come to each setting."""
    attacks: tuple[str, ...]
    jobs: Mapping[tuple[int, int], str]
    """(training seed, attack seed) -> game job."""


@dataclass(frozen=True)
class Plan:
    """The jobs of a suite in the order they run, and the rows they make."""

    suite: Suite
    hardware: Hardware
    jobs: tuple[Job, ...]
    rows: tuple[RowPlan, ...]
    attacks: Mapping[str, Mapping[str, Any]]
    """attack label -> its name and options."""
    shifts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Label of a natural shift -> its name and options."""
    complete: bool = True
    """False when `only` left rows out."""
    by_id: Mapping[str, Job] = field(default_factory=dict, compare=False)
    games: tuple[GamePlan, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What its datasets say of how they were read, and which rungs of the ladder do not apply, each once."""
        notes = [
            f"dataset {row.facts['dataset']!r}: {note}" for row in self.rows for note in row.facts["dataset_notes"]
        ]
        notes += [
            f"protocol {rung!r} does not apply: {reason}"
            for row in self.rows
            for rung, reason in row.facts["inapplicable"].items()
        ]
        return list(dict.fromkeys(notes))

    def only(self, pattern: str) -> Plan:
        """The row of this label; else the rows whose label matches a shell pattern or has a word that begins with the text
        (`oat` is not in `float`); the games all of whose rows are among them; and the jobs they need.

        Raises:
            RobustStackError: no row matches.
        """
        word = re.compile(("(?<![A-Za-z0-9_])" if pattern[:1].isalnum() else "") + re.escape(pattern))
        rows = tuple(row for row in self.rows if row.label == pattern) or tuple(
            row for row in self.rows if word.search(row.label) or fnmatch.fnmatch(row.label, pattern)
        )
        if not rows:
            labels = ", ".join(repr(row.label) for row in self.rows[:3])
            raise RobustStackError(f"--only {pattern}: no row matches; rows are named like {labels}")
        return self._of(rows)

    def of_rows(self, labels: Collection[str]) -> Plan:
        """The rows of these labels, the games all of whose rows are among them, and the jobs they need."""
        return self._of(tuple(row for row in self.rows if row.label in labels))

    def _of(self, rows: tuple[RowPlan, ...]) -> Plan:
        kept = {row.label for row in rows}
        games = tuple(
            game for game in self.games if kept.issuperset(label for of_setting in game.rows for label in of_setting)
        )
        asked = [*(row.jobs() for row in rows), *(set(game.jobs.values()) for game in games)]
        wanted = self._needed(set[str]().union(*asked))
        jobs = tuple(job for job in self.jobs if job.id in wanted)
        complete = self.complete and len(rows) == len(self.rows)
        return replace(self, jobs=jobs, rows=rows, games=games, complete=complete)

    def _needed(self, jobs: set[str]) -> set[str]:
        """The jobs, and all that they need."""
        wanted: set[str] = set()
        left = list(jobs)
        while left:
            job = left.pop()
            if job not in wanted:
                wanted.add(job)
                left += self.by_id[job].needs
        return wanted
