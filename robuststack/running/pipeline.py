"""Runs a plan: order, cache, locks, failures, progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from robuststack.errors import JobFailed, StoreError
from robuststack.plan.job import IMAGES, Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import JudgeSpec
from robuststack.plugin.registry import Registry
from robuststack.running.cached import images_wanted, judges_by_images, look_up, stored
from robuststack.running.store import Busy, Store

POLL_SECONDS = 0.5
Report = Callable[..., None]


class Executor(Protocol):
    """What runs jobs, up to `slots` at a time."""

    @property
    def slots(self) -> int:
        """How many jobs it runs at a time, as far as it knows now."""

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> Mapping[str, JobFailed]:
        """Find what cannot run before anything does. `done` are the finished train jobs that pending ones build on.

        Returns the jobs, by id, whose model cannot be built: they fail, and the others run.
        """

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        """Whether the job can start beside those that were started and are not over. What is timed is alone on its
        machine. If nothing runs, it waits until there is room, or raises why there will be none."""

    def start(self, job: Job) -> None:
        """Begin a job that there is room for."""

    def finished(self, report: Report) -> tuple[Job, dict[str, Any] | JobFailed]:
        """Wait until one of the jobs that were started is over: its stored result, or why it failed.

        `report(event, **facts)` is told of what happens meanwhile.
        """


def room_on_machine(job: Job, running: Collection[Job], slots: int) -> bool:
    """Whether a job can start beside those that run on the same machine, `slots` at a time."""
    timed = any(other.kind == "measure" for other in (job, *running))
    return len(running) < (1 if timed else slots)


@dataclass
class Outcome:
    """What became of a plan's jobs."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, JobFailed] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """Jobs that need a failed one."""


def run_plan(
    plan: Plan,
    store: Store,
    executor: Executor,
    registry: Registry,
    *,
    wait: float = 0.0,
    known: Mapping[str, dict[str, Any]] | None = None,
) -> Outcome:
    """Run every job that the store does not have, in order. A job that fails does not stop those that do not need it.

    A job that another run holds is left for last, then waited for up to `wait` seconds. `known` is what `look_up` has just
    found of these jobs; None: it looks.

    Raises:
        Busy: another run still holds a job after that.
        RobustStackError: whatever concerns the whole run; the jobs finished before it stay finished.
    """
    hooks = registry.hooks.hook
    outcome = Outcome(look_up(plan.jobs, store) if known is None else dict(known))
    pending = [job for job in plan.jobs if job.id not in outcome.results]
    hooks.run_started(plan=plan, cached=frozenset(outcome.results))
    if pending:
        needed = {need for job in pending for need in job.needs}
        done = [job for job in plan.jobs if job.id in needed and job.id in outcome.results]
        unfit = executor.prepare(pending, done)
        for job in [job for job in pending if job.id in unfit]:
            pending.remove(job)
            if job.kind != "train":
                outcome.skipped.append(job.id)
                continue
            outcome.failed[job.id] = unfit[job.id]
            hooks.job_started(job=job)
            hooks.job_failed(job=job, error=unfit[job.id])
    with contextlib.ExitStack() as locks:
        run = _Run(plan.jobs, store, executor, hooks, outcome, locks)
        run.release_all()
        run.all(pending, wait)
    return outcome


@dataclass
class _Run:
    """The jobs of a plan that are under way, and the locks that hold them."""

    jobs: Sequence[Job]
    store: Store
    executor: Executor
    hooks: Any
    outcome: Outcome
    locks: contextlib.ExitStack
    running: dict[str, tuple[Job, contextlib.ExitStack, float]] = field(default_factory=dict)
    _judges: Mapping[str, Sequence[Job]] = field(init=False)
    """Attack job -> the judge jobs of its images."""
    _attacks: Mapping[str, Job] = field(init=False)

    def __post_init__(self) -> None:
        self._judges = judges_by_images(self.jobs)
        self._attacks = {job.id: job for job in self.jobs if job.kind == "attack"}

    def all(self, pending: Sequence[Job], wait: float) -> None:
        """Run the pending jobs until none is left, or until those that are left were held elsewhere for `wait` seconds."""
        left = list(pending)
        held_since: float | None = None
        if self.executor.slots > 1:
            # First what others wait for, so that they can share the end among them.
            needed = {need for job in left for need in job.needs}
            left.sort(key=lambda job: (job.kind == "measure", not (job.kind == "train" and job.id in needed)))
        while left or self.running:
            left, busy = self._start(left)
            if self.running:
                held_since = None
                self._finish()
            elif busy:
                held_since = time.monotonic() if held_since is None else held_since
                if time.monotonic() - held_since >= wait:
                    raise Busy(
                        f"{busy}; the other jobs are done: run again when it has finished, or use --wait SECONDS"
                    )
                time.sleep(POLL_SECONDS)
            elif left and not self._ready(left):
                raise StoreError(f"job {left[0].id} needs a job that the plan does not have")

    def _ready(self, jobs: Sequence[Job]) -> bool:
        over = {*self.outcome.results, *self.outcome.failed, *self.outcome.skipped}
        return any(over.issuperset(job.needs) for job in jobs)

    def _start(self, jobs: Sequence[Job]) -> tuple[list[Job], Busy | None]:
        """Start what can be started now; the jobs that are left, and what holds one of them."""
        left: list[Job] = []
        busy: Busy | None = None
        for job in jobs:
            if any(need in self.outcome.failed or need in self.outcome.skipped for need in job.needs):
                self.outcome.skipped.append(job.id)
            elif any(need not in self.outcome.results for need in job.needs) or not self._room(job):
                left.append(job)
            else:
                try:
                    left += self._begin(job)
                except Busy as error:
                    busy = error
                    left.append(job)
        return left, busy

    def _lost_images(self, job: Job) -> Job | None:
        """The attack job whose images a job is to judge, if another run has deleted them since they were found."""
        if not (isinstance(job.spec, JudgeSpec) and job.spec.images):
            return None
        attack = self._attacks[job.spec.images]
        had = IMAGES in self.outcome.results[attack.id].get("files", {})
        return attack if had and not self.store.has(attack.id, attack.digest, (IMAGES,)) else None

    def _room(self, job: Job) -> bool:
        return self.executor.has_room(job, [other for other, _, _ in self.running.values()])

    def _begin(self, job: Job) -> Sequence[Job]:
        """Start a job, or find it done; the jobs that are left to do if what it needs has gone, itself among them."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.store.lock(job.id))
            wanted = job.kind == "attack" and images_wanted(job, self.jobs, self.store)
            result = stored(job, self.store, self.outcome.results, images=wanted)
            if result is not None:  # Another run finished it meanwhile, or its model came out as before.
                self.outcome.results[job.id] = result
                return []
            if (lost := self._lost_images(job)) is not None:
                del self.outcome.results[lost.id]
                return [lost, job]
            if wanted and self.store.has(job.id, job.digest) and not self.store.has(job.id, job.digest, (IMAGES,)):
                self._report("job_noticed", job=job, text="its images were deleted and are wanted: it is run again")
                self.store.reopen(job.id)
            self.hooks.job_started(job=job)
            self.executor.start(job)
            lock = self.locks.enter_context(stack.pop_all())
        self.running[job.id] = job, lock, time.perf_counter()
        return []

    def _finish(self) -> None:
        job, result = self.executor.finished(self._report)
        _, lock, started = self.running.pop(job.id)
        lock.close()
        if isinstance(result, JobFailed):
            self.outcome.failed[job.id] = result
            self.hooks.job_failed(job=job, error=result)
        else:
            self.outcome.results[job.id] = result
            self.hooks.job_finished(job=job, result=result, seconds=time.perf_counter() - started)
            if isinstance(job.spec, JudgeSpec) and job.spec.images:
                self._release(job.spec.images)

    def release_all(self) -> None:
        """Delete what a run that was killed meant to delete."""
        for job in self.jobs:
            if job.kind == "attack":
                self._release(job.id)

    def _release(self, attack: str) -> None:
        """Delete the images of an attack job that are not to be kept, once all that judge them here have."""
        result = self.outcome.results.get(attack, {"files": {}})
        if IMAGES not in result["files"] or result["keep_images"]:
            return
        if any(job.id not in self.outcome.results for job in self._judges.get(attack, ())):
            return
        if any(job.keep_images for job in self.jobs if job.id == attack):
            return
        with contextlib.suppress(Busy), self.store.lock(attack):
            self.outcome.results[attack] = self.store.discard(attack, IMAGES)

    def _report(self, event: str, **facts: Any) -> None:
        getattr(self.hooks, event)(**facts)
