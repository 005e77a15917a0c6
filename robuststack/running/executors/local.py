"""Runs jobs one after another in this process, and imports torch with the first of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from robuststack.errors import JobFailed, ModelError, PluginError, RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.specs import AttackSpec, BlocksSpec, MeasureSpec, ModelSpec, ProbeSpec, TrainSpec
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import Registry
from robuststack.running.job_store import JobStore
from robuststack.running.pipeline import Report, room_on_machine

if TYPE_CHECKING:
    from robuststack.engine.workspace import Workspace

Result = TypeVar("Result")
BATCH = {
    "train": "train.batch_size",
    "draws": "evaluate.block",
    "attack": "evaluate.block",
    "judge": "evaluate.block",
    "probe": "evaluate.block",
    "game": "evaluate.block",
    "measure": "measure.batch_size",
}
"""What the memory that a job needs grows with."""


def _model_of(job: Job) -> ModelSpec | None:
    """The model that a job makes, or that is brought to it; None for one that scores the model of another job."""
    return None if isinstance(job.spec, MeasureSpec) else job.spec.described


def _baked(jobs: Sequence[Job], before: Sequence[Job]) -> dict[str, list[Setting]]:
    """Model, as JSON -> its settings of which the jobs bake a draw. `before` are the finished train jobs."""
    trained = {job.id: job.spec.model for job in (*before, *jobs) if isinstance(job.spec, TrainSpec)}
    settings: dict[str, list[Setting]] = {}
    for job in jobs:
        if isinstance(job.spec, BlocksSpec) and job.spec.bake is not None:
            model = job.spec.foreign or trained[job.spec.model]
            of_model = settings.setdefault(model.model_dump_json(), [])
            of_model += [job.spec.setting] if job.spec.setting not in of_model else []
    return settings


class LocalExecutor:
    """One process, one device, one job at a time. A context: what it sets in this process, it puts back."""

    slots = 1

    def __init__(self, registry: Registry, store: JobStore, data_folder: Path, hardware: Hardware) -> None:
        self._make = (registry, store, data_folder, hardware)
        self._workspace: Workspace | None = None
        self._job: Job | None = None
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._left.close()

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            import torch

            from robuststack.engine.runtime import current_card, threads
            from robuststack.engine.torch_settings import plain_settings
            from robuststack.engine.workspace import Workspace
            from robuststack.suite.user_model import user_modules

            workspace = Workspace(*self._make)
            self._left.enter_context(plain_settings())
            self._left.enter_context(torch.inference_mode(False))  # Attacks need gradients, wherever they are called.
            self._left.enter_context(current_card(workspace.runtime.device))
            self._left.enter_context(threads(workspace.hardware.threads))
            self._left.enter_context(user_modules())  # What a user's model imports when it is called.
            self._workspace = workspace
        return self._workspace

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> dict[str, JobFailed]:
        """Load every dataset, and call every model once that is to be trained or was brought by the user, so that what
        cannot run is found before any compute. `done` are the finished train jobs that pending ones build on.

        Returns the jobs, by id, of models that are to be trained here and cannot be built, while others can.

        Raises:
            DatasetError: what was tried and where to put the file.
            ModelError: a model that cannot be evaluated, and why.
            RobustStackError: there is no memory for them.
        """
        from robuststack.engine.memory import out_of_memory

        try:
            return self._prepare(pending, done)
        except Exception as error:
            if not out_of_memory(error):
                raise
            device = self.workspace.hardware.device
            raise RobustStackError(
                f"{device} is out of memory before any job: the data or a model are too large"
            ) from None

    def _prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> dict[str, JobFailed]:
        for job in (*pending, *done):
            if spec := _model_of(job):
                self.workspace.data(spec.dataset)
        probed: set[str] = set()
        unfit: dict[str, RobustStackError] = {}
        baked = _baked(pending, done)
        # Those that need gradients first: they are asked for more. Of the finished models, only one of which a draw is to
        # be baked needs another look.
        for job in (*sorted(pending, key=lambda job: not self._needs_gradients(job)), *done):
            if spec := _model_of(job):
                model = spec.model_dump_json()
                if model not in probed and (model in baked or job not in done):
                    probed.add(model)
                    try:
                        self.workspace.probe(job, gradients=self._needs_gradients(job), baked=baked.get(model, ()))
                    except (ModelError, PluginError) as error:
                        if job.kind != "train" or job in done:
                            raise
                        unfit[model] = error if isinstance(error, ModelError) else PluginError(f"{job.label}: {error}")
        if unfit and probed == unfit.keys():
            raise next(iter(unfit.values()))  # Nothing is left to run.
        return {
            job.id: JobFailed(str(unfit[model]).removeprefix(f"{job.label}: "))
            for job in pending
            if (spec := job.spec.described) and (model := spec.model_dump_json()) in unfit
        }

    def _needs_gradients(self, job: Job) -> bool:
        if job.kind == "train":
            return True
        attack = job.spec.attack if isinstance(job.spec, AttackSpec | ProbeSpec) else None
        return bool(attack and self.workspace.component("attack", attack).needs_gradients)

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        return room_on_machine(job, running, self.slots)

    def start(self, job: Job) -> None:
        self._job = job

    def finished(self, report: Report) -> tuple[Job, dict[str, Any] | JobFailed]:
        """Run the job that was started and store its result. A job that needs more memory than there is fails alone."""
        from robuststack.engine.jobs import execute

        job, self._job = self._job, None
        assert job is not None, "no job was started"
        return job, self._failing_alone(job, lambda: execute(job, self.workspace, report))

    def make_blocks(self, job: Job, numbers: Sequence[int]) -> JobFailed | None:
        """Make some blocks of an attack or judge job and store them; why the job failed, if it did."""
        from robuststack.engine.blocks import make_blocks

        return self._failing_alone(job, lambda: make_blocks(job, self.workspace, numbers))

    def _failing_alone(self, job: Job, work: Callable[[], Result]) -> Result | JobFailed:
        """What the work comes to, or why the job failed: of its own, or because it needs more memory than there is."""
        from robuststack.engine.memory import out_of_memory, release

        try:
            return work()
        except JobFailed as error:
            return error
        except Exception as error:
            if not out_of_memory(error):
                raise
            hardware = self.workspace.hardware
            fewer = " or fewer --workers" if hardware.workers > 1 else ""
            failed = JobFailed(f"{hardware.device} is out of memory; a smaller {BATCH[job.kind]}{fewer} may help")
        # Out here the error, which holds the tensors of all it went through, is gone.
        release()
        return failed
