"""What every tracker of runs writes of a suite: a run for each job, and one for each row of the leaderboard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from robuststack import Row, hookimpl
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack_plugins.tracking.numbers import row_numbers

Run = TypeVar("Run")
PARTS = ("dataset", "architecture", "defense", "attack")


@dataclass(frozen=True)
class RunFacts:
    """What a run is about: its name, `train`, `attack`, another kind of job or `row`, short tags, and what was configured,
    each a number or a text."""

    name: str
    kind: str
    tags: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


class JobRuns(ABC, Generic[Run]):
    """A run for each job that is done now, with the loss and accuracy of its epochs or blocks, and at the end one for each
    row. Jobs that were done before write nothing; rows are always written."""

    def __init__(self) -> None:
        self.suite = ""
        self._models: dict[str, Mapping[str, Any]] = {}
        """Train job -> the specification of its model."""
        self._open: dict[str, Run] = {}

    @abstractmethod
    def start(self) -> None:
        """The suite is known: connect.

        Raises:
            PluginError: the tool cannot be reached.
        """

    @abstractmethod
    def begin(self, facts: RunFacts) -> Run:
        """Open a run."""

    @abstractmethod
    def log(self, run: Run, metrics: Mapping[str, float], step: int) -> None:
        """Add metrics at a step: an epoch, or images so far."""

    @abstractmethod
    def end(self, run: Run, summary: Mapping[str, float], failed: bool) -> None:
        """Close a run with what came out."""

    @hookimpl
    def run_started(self, plan: Plan) -> None:
        self.suite = plan.suite.name
        self._models = {job.id: job.spec.plain()["model"] for job in plan.jobs if job.kind == "train"}
        self.start()

    @hookimpl
    def epoch_finished(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self.log(self._run(job), {f"epoch/{name}": value for name, value in metrics.items()}, epoch)

    @hookimpl
    def block_finished(self, job: Job, done: int, metrics: Mapping[str, float]) -> None:
        if metrics:
            self.log(self._run(job), {f"judging/{name}": value for name, value in metrics.items()}, done)

    @hookimpl
    def job_finished(self, job: Job, result: Mapping[str, Any], seconds: float) -> None:
        summary = {"seconds": seconds}
        summary |= {name: float(result[name]) for name in ("accuracy", "draws") if name in result}
        self.end(self._run(job), summary, failed=False)
        del self._open[job.id]

    @hookimpl
    def job_failed(self, job: Job) -> None:
        self.end(self._run(job), {}, failed=True)
        del self._open[job.id]

    @hookimpl(trylast=True)  # Other plugins' columns are there by then.
    def rows_ready(self, rows: Sequence[Row]) -> None:
        for row in rows:
            parts = {name: getattr(row, name) for name in PARTS[:3] if getattr(row, name)}
            point = {f"point.{knob}": value for knob, value in row.point.items()}
            run = self.begin(RunFacts(row.label, "row", ("row", *parts.values()), {**parts, **point}))
            self.end(run, row_numbers(row), failed=False)

    @hookimpl
    def run_finished(self) -> None:
        for run in self._open.values():  # Of jobs that an error or a Ctrl-C cut off.
            self.end(run, {}, failed=True)
        self._open.clear()

    def _run(self, job: Job) -> Run:
        if job.id not in self._open:
            self._open[job.id] = self.begin(self._facts(job))
        return self._open[job.id]

    def _facts(self, job: Job) -> RunFacts:
        spec = job.spec.plain()
        model = spec["model"] if isinstance(spec["model"], dict) else spec["foreign"] or self._models.get(spec["model"])
        parts = {name: part for name in PARTS if (part := {**(model or {}), **spec}.get(name))}
        config = {"job": job.id, "seed": spec.get("seed", 0)}
        for name, part in parts.items():
            config[name] = part["name"]
            config |= {f"{name}.{option}": _plain(value) for option, value in part["options"].items()}
        return RunFacts(job.label, job.kind, (job.kind, *(part["name"] for part in parts.values())), config)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
