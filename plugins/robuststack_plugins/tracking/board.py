"""What a run writes for TensorBoard, through the lifecycle hooks that any plugin has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack import Row, hookimpl
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack_plugins.tracking.numbers import row_numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class Board:
    """Epochs of each trained model and the accuracies found of it, then the rows, a curve for each defense.

    A folder for each model and each defense, so that TensorBoard lists them as runs. Jobs that were done before write
    nothing; rows are always written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = ""
        self.trained: dict[str, str] = {}
        """Train job -> its label."""
        self._open: tuple[str, SummaryWriter] | None = None

    @hookimpl
    def run_started(self, plan: Plan) -> None:
        self.suite = plan.suite.name
        self.trained = {job.id: job.label for job in plan.jobs if job.kind == "train"}

    @hookimpl
    def epoch_finished(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        writer = self._writer(job.label)
        for name, value in metrics.items():
            writer.add_scalar(f"epoch/{name}", value, epoch)

    @hookimpl
    def block_finished(self, job: Job, done: int, metrics: Mapping[str, float]) -> None:
        writer = self._writer(self._model(job))
        for name, value in metrics.items():
            writer.add_scalar(f"judging/{name} {_tag(job.label)}", value, done)

    @hookimpl
    def job_finished(self, job: Job, result: Mapping[str, Any]) -> None:
        if "accuracy" in result:
            self._writer(self._model(job)).add_scalar(f"accuracy/{_tag(job.label)}", result["accuracy"], 0)

    @hookimpl(trylast=True)  # Other plugins' columns are there by then.
    def rows_ready(self, rows: Sequence[Row]) -> None:
        positions: dict[str, int] = {}
        for row in rows:
            run = "/".join(["rows", *row.variant, f"eps {row.threat.eps:g}", row.title])
            position = positions[run] = positions.get(run, -1) + 1
            writer = self._writer(run)
            writer.add_text("point", row.label, position)
            for name, value in row_numbers(row).items():
                writer.add_scalar(f"row/{name}", value, position)

    @hookimpl
    def run_finished(self) -> None:
        if self._open:
            self._open[1].close()
        self._open = None

    def _model(self, job: Job) -> str:
        return next((self.trained[need] for need in job.needs if need in self.trained), job.label)

    def _writer(self, run: str) -> SummaryWriter:
        """The writer of a run. One is open at a time: each has a thread and a file, and a suite has many runs."""
        if self._open is None or self._open[0] != run:
            from torch.utils.tensorboard import SummaryWriter

            self.run_finished()
            parts = re.sub(r"(=\d+)/(?=\d)", r"\1_", run).split("/")  # A radius, `eps=8/255`, is no folder.
            place = self.folder.joinpath(_tag(self.suite), *map(_tag, parts))
            self._open = run, SummaryWriter(str(place))  # type: ignore[no-untyped-call]
        return self._open[1]


def _tag(text: str) -> str:
    """A name that TensorBoard and file systems take as it is."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")
