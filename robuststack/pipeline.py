"""Runs a plan: order, cache, locks, failures, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from robuststack.errors import JobFailed, StoreError
from robuststack.plan import Job, Plan
from robuststack.registry import Registry
from robuststack.store import Busy, Store

POLL_SECONDS = 0.5


class Executor(Protocol):
    """What runs a job."""

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> None: ...

    def run(self, job: Job, report: Callable[..., None]) -> dict[str, Any]: ...


@dataclass
class Outcome:
    """What became of a plan's jobs."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, JobFailed] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """Jobs that need a failed one."""


def run_plan(plan: Plan, store: Store, executor: Executor, registry: Registry, *, wait: float = 0.0) -> Outcome:
    """Run every job that the store does not have, in order. A job that fails does not stop those that do not need it.

    A job that another run holds is left for last, then waited for up to `wait` seconds.

    Raises:
        Busy: another run still holds a job after that.
        RobustStackError: whatever concerns the whole run; the jobs finished before it stay finished.
    """
    hooks = registry.hooks.hook
    outcome = Outcome()
    pending = []
    for job in plan.jobs:
        found = _cached(job, store, outcome)
        if found is None:
            pending.append(job)
        else:
            outcome.results[job.id] = found
    hooks.run_started(plan=plan, cached=frozenset(outcome.results))
    if pending:
        needed = {need for job in pending for need in job.needs}
        executor.prepare(pending, [job for job in plan.jobs if job.id in needed and job.id in outcome.results])

    def report(event: str, **facts: Any) -> None:
        getattr(hooks, event)(**facts)

    deadline = time.monotonic() + wait
    while pending:
        left: list[Job] = []
        busy: Busy | None = None
        for job in pending:
            if any(need in outcome.failed or need in outcome.skipped for need in job.needs):
                outcome.skipped.append(job.id)
            elif any(need not in outcome.results for need in job.needs):
                left.append(job)
            else:
                try:
                    _run_job(job, store, executor, outcome, hooks, report)
                except Busy as error:
                    busy = error
                    left.append(job)
        if left and busy:
            if time.monotonic() >= deadline:
                raise Busy(f"{busy}; the other jobs are done: run again when it has finished, or use --wait SECONDS")
            time.sleep(POLL_SECONDS)
        elif left:
            raise StoreError(f"job {left[0].id} needs a job that the plan does not have")
        pending = left
    return outcome


def _cached(job: Job, store: Store, outcome: Outcome) -> dict[str, Any] | None:
    """The stored result of a job, if it is of this source code and of the very weights that its model has now."""
    if not store.has(job.id, job.digest, also=("images.safetensors",) if job.keep_images else ()):
        return None
    found = store.result(job.id)
    for need in job.needs:
        model = outcome.results.get(need)
        if model is None or model["files"].get("model.safetensors") != found.get("model_sha256"):
            return None
    return found


def _run_job(
    job: Job, store: Store, executor: Executor, outcome: Outcome, hooks: Any, report: Callable[..., None]
) -> None:
    with store.lock(job.id):
        found = _cached(job, store, outcome)
        if found is not None:  # Another run finished it meanwhile, or its model came out as before.
            outcome.results[job.id] = found
            return
        hooks.job_started(job=job)
        started = time.perf_counter()
        try:
            result = executor.run(job, report)
        except JobFailed as error:
            outcome.failed[job.id] = error
            hooks.job_failed(job=job, error=error)
            return
        outcome.results[job.id] = result
        hooks.job_finished(job=job, result=result, seconds=time.perf_counter() - started)
