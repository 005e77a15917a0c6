"""What happened in a run, in a file: for a command that has to explain itself afterwards."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from robuststack.errors import StoreError
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plugin.hookspecs import hookimpl
from robuststack.running.atomic_files import make_folder


class RunLog:
    """A context that writes the jobs of a run, each with the time, and the error that ended it. A plugin on the hooks.

    The file is written line by line, so that a killed command leaves what it knew.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreError if the file cannot be written."""
        self.path = path
        make_folder(path.parent)
        try:
            self._file = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.write("".join(traceback.format_exception(kind, error, trace)).rstrip())
        self._file.close()

    def write(self, text: str) -> None:
        """Add a line, or several."""
        self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    @hookimpl
    def run_started(self, plan: Plan, cached: frozenset[str]) -> None:
        hardware = plan.hardware
        self.write(f"{plan.suite.name}: {len(plan.jobs)} jobs, {len(cached)} done before, {hardware}")

    @hookimpl
    def job_started(self, job: Job) -> None:
        self.write(f"started {job.label} ({job.id})")

    @hookimpl
    def job_finished(self, job: Job, result: Mapping[str, Any], seconds: float) -> None:
        self.write(f"finished {job.label} ({job.id}), {seconds:.1f} s")

    @hookimpl
    def job_failed(self, job: Job, error: Exception) -> None:
        self.write(f"failed {job.label} ({job.id}): {error}")
