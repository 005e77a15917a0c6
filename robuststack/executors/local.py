"""Runs jobs one after another in this process, and imports torch with the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack.hardware import Hardware
from robuststack.plan import Job
from robuststack.registry import Registry
from robuststack.store import Store

if TYPE_CHECKING:
    from robuststack.engine.jobs import Workspace


class LocalExecutor:
    """One process, one device, one job at a time."""

    def __init__(self, registry: Registry, store: Store, data_folder: Path, hardware: Hardware) -> None:
        self._make = (registry, store, data_folder, hardware)
        self._workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            from robuststack.engine.jobs import Workspace

            self._workspace = Workspace(*self._make)
        return self._workspace

    def prepare(self, jobs: Iterable[Job]) -> None:
        """Load every dataset and every foreign model the jobs need, so that a missing one is found before any compute.

        Raises:
            DatasetError: what was tried and where to put the file.
        """
        for job in jobs:
            trained = job.spec if job.kind == "train" else job.spec.get("source")
            if trained:
                self.workspace.data(trained["dataset"])
            if "source" in job.spec:
                self.workspace.model(job.spec["model"], job.spec["source"], None)

    def run(self, job: Job, report: Callable[..., None]) -> dict[str, Any]:
        """Run a job and store its result."""
        from robuststack.engine.jobs import execute

        return execute(job, self.workspace, report)
