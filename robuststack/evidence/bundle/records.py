"""What the JSON members of a bundle hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field

from robuststack.hardware import Hardware
from robuststack.leaderboard.record import Count, Record, Values
from robuststack.leaderboard.row_labels import run_of, run_text
from robuststack.plan.job import Job
from robuststack.plan.plan import GamePlan, Plan, RowPlan, Score
from robuststack.plan.specs import JobSpec
from robuststack.suite.loading import suite_from_texts
from robuststack.suite.suite import Suite

BUNDLE_SCHEMA = 1
"""The layout of bundles that this version writes and reads."""


class MemberRecord(Record):
    """A member of the bundle."""

    sha256: str
    size: Count


class DataRecord(Record):
    """The clean images that jobs of the bundle score, and their labels."""

    dataset: str
    selection: str
    """The name of the selection, as the labels beside a leaderboard have it."""
    n: Count
    sha256: str
    """Of the images, float32 [n, C, H, W] in [0, 1], little-endian, and the labels, int64 [n], behind them."""


class Manifest(Record):
    """What the bundle is of, and the hash of every other member."""

    format: Literal["robuststack bundle"] = "robuststack bundle"
    schema_: int = Field(alias="schema", description="The layout of the bundle.")
    suite: str
    versions: dict[str, str]
    """Distribution -> version, of the software that wrote the bundle. Each job's result names that which computed it."""
    engine_revision: int
    """What job ids hash beside their specification."""
    weights: bool
    """Whether the weights of the trained models are there."""
    data: tuple[DataRecord, ...]
    members: dict[str, MemberRecord]


class SuiteRecord(Record):
    """The suite as it was written."""

    texts: dict[str, str]
    """File, from the suite's folder -> text: the suite's first, and then those it extends."""
    overrides: tuple[str, ...]

    def suite(self) -> Suite:
        """The suite that these texts say."""
        return suite_from_texts(self.texts, self.overrides)


class ScoreRecord(Record):
    """The judge jobs of a figure: "training seed/attack seed", with "/bake" behind it for a baked draw -> job."""

    jobs: dict[str, str]
    stochastic: bool

    @classmethod
    def of(cls, score: Score) -> Self:
        return cls(jobs={run_text(run): job for run, job in score.jobs.items()}, stochastic=score.stochastic)

    def score(self) -> Score:
        return Score({run_of(run): job for run, job in self.jobs.items()}, self.stochastic)


class RowRecord(Record):
    """What a row is about, and the jobs it is made of."""

    label: str
    facts: Values
    train: dict[int, str]
    measure: str
    clean: dict[str, ScoreRecord]
    robust: dict[str, dict[str, ScoreRecord]]
    attacks: dict[str, dict[str, Values]]
    images: dict[str, str]
    shift: dict[str, ScoreRecord]

    @classmethod
    def of(cls, row: RowPlan) -> Self:
        return cls(
            label=row.label,
            facts=_plain(row.facts),
            train=dict(row.train),
            measure=row.measure,
            clean={protocol: ScoreRecord.of(score) for protocol, score in row.clean.items()},
            robust={
                protocol: {label: ScoreRecord.of(score) for label, score in scores.items()}
                for protocol, scores in row.robust.items()
            },
            attacks=_plain(row.attacks),
            images=dict(row.images),
            shift={label: ScoreRecord.of(score) for label, score in row.shift.items()},
        )

    def row(self) -> RowPlan:
        return RowPlan(
            label=self.label,
            facts=self.facts,
            train=self.train,
            measure=self.measure,
            clean={protocol: record.score() for protocol, record in self.clean.items()},
            robust={
                protocol: {label: record.score() for label, record in records.items()}
                for protocol, records in self.robust.items()
            },
            attacks=self.attacks,
            images=self.images,
            shift={label: record.score() for label, record in self.shift.items()},
        )


class GameRecord(Record):
    """What a game is about, and its jobs."""

    variant: tuple[str, ...]
    defense: str
    shown: Values
    threat: Values
    settings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    attacks: tuple[str, ...]
    jobs: dict[str, str]

    @classmethod
    def of(cls, game: GamePlan) -> Self:
        return cls(
            variant=tuple(game.variant),
            defense=game.defense,
            shown=_plain(game.shown),
            threat=_plain(game.threat),
            settings=tuple(game.settings),
            rows=tuple(map(tuple, game.rows)),
            attacks=tuple(game.attacks),
            jobs={run_text(run): job for run, job in game.jobs.items()},
        )

    def game(self) -> GamePlan:
        jobs: dict[tuple[int, int], str] = {}
        for run, job in self.jobs.items():
            train, attack = run_of(run)
            jobs[train, attack] = job
        return GamePlan(
            self.variant, self.defense, self.shown, self.threat, self.settings, self.rows, self.attacks, jobs
        )


class JobRecord(Record):
    """A job; its specification stands in its result."""

    id: str
    label: str
    digest: str
    needs: tuple[str, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(id=job.id, label=job.label, digest=job.digest, needs=job.needs)

    def job(self, specs: Mapping[str, JobSpec]) -> Job:
        return Job(self.id, self.label, specs[self.id], self.digest, self.needs)


class PlanRecord(Record):
    """The jobs behind the leaderboard, in the order they ran, and how its rows and games are made of them."""

    device: str
    precision: str
    complete: bool
    """Whether it has every row of the suite."""
    attacks: dict[str, Values]
    shifts: dict[str, Values] = Field(default_factory=dict)
    jobs: tuple[JobRecord, ...]
    rows: tuple[RowRecord, ...]
    games: tuple[GameRecord, ...]
    audit: tuple[JobRecord, ...] = ()
    """The jobs of the audit beside those, in the order they ran."""

    @classmethod
    def of(cls, plan: Plan, complete: bool, audit: Iterable[Job] = ()) -> Self:
        return cls(
            device=plan.hardware.kind,
            precision=plan.hardware.precision,
            complete=complete,
            attacks=_plain(plan.attacks),
            shifts=_plain(plan.shifts),
            jobs=tuple(map(JobRecord.of, plan.jobs)),
            rows=tuple(map(RowRecord.of, plan.rows)),
            games=tuple(map(GameRecord.of, plan.games)),
            audit=tuple(map(JobRecord.of, audit)),
        )

    def plan(self, suite: Suite, specs: Mapping[str, JobSpec]) -> Plan:
        """The plan again; `specs` are those of the jobs, by id."""
        jobs = tuple(job.job(specs) for job in self.jobs)
        return Plan(
            suite,
            Hardware(self.device, self.precision),
            jobs,
            tuple(record.row() for record in self.rows),
            self.attacks,
            self.shifts,
            complete=self.complete,
            by_id={job.id: job for job in jobs},
            games=tuple(record.game() for record in self.games),
        )


def in_order(record: Record) -> bytes:
    """A member's content. Unlike leaderboards, a plan and a suite mean something by the order of their keys."""
    return json.dumps(record.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False).encode()


def _plain(data: Any) -> Any:
    """As JSON holds it: lists for tuples."""
    return json.loads(json.dumps(data, allow_nan=False))
