"""Progress of a run, as an ordinary plugin on the lifecycle hooks: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import click

from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import DrawsSpec, GameSpec, JudgeSpec
from robuststack.plugin.hookspecs import hookimpl
from robuststack.plugin.registry import Registry

PLAIN_SECONDS = 5.0


class Progress:
    """Counts jobs and work, and says how long the rest will take at the pace so far."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.numbers: dict[str, int] = {}
        """Of the jobs that were started, in that order."""
        self.workers = 1
        self.spent: dict[str, list[float]] = {}
        self.nodes: dict[str, list[str]] = {}
        """Job -> the nodes of a cluster that have worked on it."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def say(self, text: str, *, done: bool = False) -> None:
        """Show a line; `done` ones stay."""
        click.echo(text)

    def close(self) -> None:
        """The run is over."""

    @hookimpl
    def run_started(self, plan: Plan, cached: frozenset[str]) -> None:
        self.jobs = {job.id: job for job in plan.jobs if job.id not in cached}
        self.workers = plan.hardware.workers
        if self.jobs:
            where = f"{plan.hardware.device}, {plan.hardware.precision}"
            where += f", {self.workers} at a time" if self.workers > 1 else ""
            self.say(f"{plan.suite.name}: {len(self.jobs)} jobs to run, {len(cached)} done before ({where})", done=True)
        else:
            self.say(f"{plan.suite.name}: all {len(cached)} jobs were done before", done=True)

    @hookimpl
    def job_started(self, job: Job) -> None:
        self.numbers[job.id] = len(self.numbers) + 1
        self.update(job, "")

    @hookimpl
    def job_placed(self, job: Job, node: str) -> None:
        nodes = self.nodes.setdefault(job.id, [])
        nodes += [node] if node not in nodes else []
        self.update(job, "")

    @hookimpl
    def epoch_finished(self, job: Job, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        accuracies = "".join(f", {name.upper()} {metrics[name]:.1f}" for name in ("ca", "ra") if name in metrics)
        self.update(job, f"epoch {epoch}/{epochs}, loss {metrics['loss']:.3f}{accuracies}", epoch / epochs)

    @hookimpl
    def block_finished(self, job: Job, done: int, total: int, metrics: Mapping[str, float]) -> None:
        accuracies = "".join(f", {name.upper()} {value:.1f}" for name, value in metrics.items())
        self.update(job, f"{done}/{total} images{accuracies}", done / total)

    @hookimpl
    def job_noticed(self, job: Job, text: str) -> None:
        self.say(f"{job.kind} {job.label}: {text}", done=True)

    @hookimpl
    def job_finished(self, job: Job, result: Mapping[str, Any], seconds: float) -> None:
        self._account(job, seconds)
        outcome = ""
        if isinstance(job.spec, JudgeSpec):
            outcome = f": {'RA' if job.spec.images else 'CA'} {result['accuracy']:.1f} %"
        elif isinstance(job.spec, DrawsSpec):
            outcome = f": {result['draws']} draws{', the cap' if result['cap_reached'] else ''}"
        elif isinstance(job.spec, GameSpec):
            outcome = f": hidden {100 * result['values'][-1]:.1f} % after {len(result['rounds'])} rounds"
        elif result.get("history"):
            outcome = f": loss {result['history'][-1]['loss']:.3f}"
        self.say(f"{self._head(job)}{outcome} in {seconds:.1f} s{self._remaining()}", done=True)

    @hookimpl
    def job_failed(self, job: Job, error: Exception) -> None:
        self._account(job, None)
        self.say(f"{self._head(job)} FAILED: {error}", done=True)

    def update(self, job: Job, text: str, share: float = 0.0) -> None:
        """The running job's state."""

    def _account(self, job: Job, seconds: float | None) -> None:
        self.jobs.pop(job.id, None)
        if seconds is not None:
            pace = self.spent.setdefault(job.kind, [0.0, 0.0])
            pace[0] += seconds
            pace[1] += job.work

    def _head(self, job: Job) -> str:
        total = len(self.numbers.keys() | self.jobs.keys())
        where = f" on {', '.join(self.nodes[job.id])}" if job.id in self.nodes else ""
        return f"[{self.numbers[job.id]}/{total}] {job.kind} {job.label}{where}"

    def _remaining(self, running: Job | None = None, share: float = 0.0) -> str:
        """`, 40 s left`, from the seconds a unit of work took so far; of a kind not seen yet, the mean of the others."""
        seconds, work = (sum(column) for column in zip(*self.spent.values(), strict=True)) if self.spent else (0.0, 0.0)
        if not work:
            return ""
        total = 0.0
        for job in self.jobs.values():
            pace = self.spent.get(job.kind)
            rate = pace[0] / pace[1] if pace and pace[1] else seconds / work
            total += rate * job.work * (1 - share if running and job.id == running.id else 1)
        return f", {duration(total / self.workers)} left" if self.jobs else ""


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class PlainProgress(Progress):
    """Lines for logs: every finished job, and the running one every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said = time.monotonic()

    def update(self, job: Job, text: str, share: float = 0.0) -> None:
        if text and time.monotonic() - self._said > PLAIN_SECONDS:
            self.say(f"{self._head(job)}: {text}{self._remaining(job, share)}")

    def say(self, text: str, *, done: bool = False) -> None:
        self._said = time.monotonic()
        click.echo(text)


class LiveProgress(Progress):
    """One moving line below the finished jobs."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.status import Status

        self._console = Console(highlight=False)
        # The usual spinner is of signs that an ascii terminal lacks.
        spinner = "dots" if self._console.encoding.startswith("utf") else "line"
        self._status = Status("starting", console=self._console, spinner=spinner)

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def close(self) -> None:
        self._status.stop()

    def update(self, job: Job, text: str, share: float = 0.0) -> None:
        from rich.markup import escape

        self._status.update(escape(f"{self._head(job)} {text}{self._remaining(job, share)}"))

    def say(self, text: str, *, done: bool = False) -> None:
        self._console.print(text, markup=False)


def make_progress(registry: Registry) -> Progress:
    """A plugin among the others: live where standard output is a terminal."""
    progress = LiveProgress() if sys.stdout.isatty() else PlainProgress()
    registry.hooks.register(progress, name="progress")
    return progress
