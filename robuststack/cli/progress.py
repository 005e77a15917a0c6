"""Progress of a run, as an ordinary plugin on the lifecycle hooks: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import click

from robuststack.cli.machine_speed import measured_speeds
from robuststack.cli.time_left import TimeLeft, Underway
from robuststack.plan.estimate import jobs_seconds
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import DrawsSpec, GameSpec, JudgeSpec
from robuststack.plan.speed import kept_speeds
from robuststack.plugin.hookspecs import hookimpl
from robuststack.plugin.registry import Registry
from robuststack.wording import duration

PLAIN_SECONDS = 5.0
WORTH_MEASURING = 1e8
"""Forward-pass pixels: small networks take about two minutes for so many on one core."""


Speeds = Literal["kept", "measured", "elsewhere"]
"""How fast networks are computed: as it is known of this machine, or as it is measured if a run is long enough; or jobs run
on other machines, of which nothing is known."""


class Progress:
    """Counts jobs, and says how long the rest will take."""

    speeds: Speeds = "kept"

    def __init__(self) -> None:
        self.total = 0
        self.numbers: dict[str, int] = {}
        """Of the jobs that were started, in that order."""
        self.running: dict[str, tuple[float, float]] = {}
        """Job -> when it was started, and the share of it that is done."""
        self.left: TimeLeft | None = None
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
        pending = [job for job in plan.jobs if job.id not in cached]
        self.total, workers = len(self.numbers) + len(pending), plan.hardware.workers
        if not pending:
            self.say(f"{plan.suite.name}: all {len(cached)} jobs were done before", done=True)
            return
        seconds = self._expected(plan, pending)
        self.left = TimeLeft(plan, pending, seconds, workers)
        where = f"{plan.hardware.device}, {plan.hardware.precision}"
        where += f", {workers} at a time" if workers > 1 else ""
        left = self.left.seconds()
        about = f", about {duration(left)}" if left is not None else ""
        self.say(
            f"{plan.suite.name}: {len(pending)} jobs to run, {len(cached)} done before ({where}){about}", done=True
        )

    def _expected(self, plan: Plan, pending: Sequence[Job]) -> dict[str, float]:
        """What jobs are expected to take on this machine, as far as it is known."""
        if self.speeds == "elsewhere":
            return {}
        if self.speeds == "measured" and sum(job.work for job in pending) > WORTH_MEASURING:
            return jobs_seconds(plan, measured_speeds(plan, None, [job.id for job in pending]))
        return jobs_seconds(plan, kept_speeds(plan.hardware))

    @hookimpl
    def job_started(self, job: Job) -> None:
        self.numbers[job.id] = len(self.numbers) + 1
        self.running[job.id] = time.monotonic(), 0.0
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
        if job.id in self.running:
            self.running[job.id] = self.running[job.id][0], share or self.running[job.id][1]

    def _account(self, job: Job, seconds: float | None) -> None:
        self.running.pop(job.id, None)
        if self.left:
            self.left.finished(job, seconds)

    def _head(self, job: Job) -> str:
        where = f" on {', '.join(self.nodes[job.id])}" if job.id in self.nodes else ""
        return f"[{self.numbers[job.id]}/{self.total}] {job.kind} {job.label}{where}"

    def _remaining(self) -> str:
        """`, 40 s left`; empty if nothing is left, or not known yet."""
        now = time.monotonic()
        begun = {job: Underway(now - started, share) for job, (started, share) in self.running.items()}
        seconds = self.left.seconds(begun) if self.left else None
        return f", {duration(seconds)} left" if seconds else ""


class PlainProgress(Progress):
    """Lines for logs: every finished job, and the running one every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said = time.monotonic()

    def update(self, job: Job, text: str, share: float = 0.0) -> None:
        super().update(job, text, share)
        if text and time.monotonic() - self._said > PLAIN_SECONDS:
            self.say(f"{self._head(job)}: {text}{self._remaining()}")

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

        super().update(job, text, share)
        self._status.update(escape(f"{self._head(job)} {text}{self._remaining()}"))

    def say(self, text: str, *, done: bool = False) -> None:
        self._console.print(text, markup=False)


def make_progress(registry: Registry, speeds: Speeds = "kept") -> Progress:
    """A plugin among the others: live where standard output is a terminal."""
    progress = LiveProgress() if sys.stdout.isatty() else PlainProgress()
    progress.speeds = speeds
    registry.hooks.register(progress, name="progress")
    return progress
