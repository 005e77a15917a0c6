"""What a run writes for TensorBoard, through the lifecycle hooks that any plugin has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack import hookimpl
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan

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
    def rows_ready(self, rows: Sequence[Mapping[str, Any]]) -> None:
        positions: dict[str, int] = {}
        for row in rows:
            defense = " ".join([row["defense"], *(f"{key}={value}" for key, value in row["shown"].items())])
            run = "/".join(["rows", *row["variant"], f"eps {row['threat']['eps']:g}", defense])
            position = positions[run] = positions.get(run, -1) + 1
            writer = self._writer(run)
            writer.add_text("point", row["label"], position)
            for name, value in _numbers(row).items():
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
            place = self.folder.joinpath(_tag(self.suite), *map(_tag, run.split("/")))
            self._open = run, SummaryWriter(str(place))  # type: ignore[no-untyped-call]
        return self._open[1]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a row, and what plugins added to it where that is a number."""
    found = {"CA": row["ca"]["value"], **{f"RA {name}": one["value"] for name, one in row["ra"].items()}}
    found |= {name: row[name] for name in ("parameters", "macs")}
    extra = row["extra"].items()
    return found | {name: float(one) for name, one in extra if isinstance(one, Real) and not isinstance(one, bool)}


def _tag(text: str) -> str:
    """A name that TensorBoard and file systems take as it is."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")
