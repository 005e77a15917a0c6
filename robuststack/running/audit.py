"""Runs the checks of an audit: their jobs, then those that confirm what fired on other images, then the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robuststack.evidence.checks.check import Check
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.audit_maker import AskedRow, AuditResults
from robuststack.plan.audit import IMAGES, subjects
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.job import IMAGES as IMAGE_FILE
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan, RowPlan
from robuststack.plugin.registry import Registry
from robuststack.running.cached import images_wanted, look_up
from robuststack.running.pipeline import Executor, run_plan
from robuststack.running.store import Store


@dataclass
class Audited:
    """What an audit comes to."""

    rows: list[RowAudit] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Label of each failed job -> why."""


def run_audit(
    plan: Plan,
    rows: Sequence[RowPlan],
    checks: Sequence[Check],
    store: Store,
    executor: Executor,
    registry: Registry,
    *,
    images: int = IMAGES,
    wait: float = 0.0,
) -> Audited:
    """Ask the checks of the rows of a plan, on `images` images each, and as many of the jobs as the store does not have.

    Raises:
        RobustStackError: whatever concerns the whole run, as from `run_plan`.
    """
    derived = DerivedJobs(plan, registry)
    asked = _asked(plan, derived, rows, checks, images)
    results = AuditResults(store)

    def run(jobs: Iterable[Job]) -> None:
        stage = _stage(plan, derived, jobs)
        if results.known.keys() >= {job.id for job in stage.jobs}:
            return
        known = look_up(stage.jobs, store)
        _tell_what_is_run_again(stage, known, store, registry)
        outcome = run_plan(stage, store, executor, registry, wait=wait, known=known)
        results.known = {**results.known, **outcome.results}
        results.failed |= outcome.failed
        results.skipped |= set(outcome.skipped)

    run(_first(asked))
    run(job for row in asked for check in row.asked for job in check.confirm(results))
    audits = [row.audit(results) for row in asked]
    return Audited(audits, {derived.jobs[job].label: str(error) for job, error in results.failed.items()})


def audit_plan(plan: Plan, checks: Sequence[Check], registry: Registry, images: int = IMAGES) -> Plan:
    """A plan with the jobs of its audit beside its own, but for those that confirm a finding on other images: what they
    are is known when there is one."""
    derived = DerivedJobs(plan, registry)
    first = _first(_asked(plan, derived, plan.rows, checks, images))
    return replace(_stage(plan, derived, [*plan.jobs, *first]), rows=plan.rows)


def _asked(
    plan: Plan, derived: DerivedJobs, rows: Sequence[RowPlan], checks: Sequence[Check], images: int
) -> list[AskedRow]:
    return [AskedRow.of(label, models, checks) for label, models in subjects(plan, derived, rows, images).items()]


def _first(asked: Sequence[AskedRow]) -> list[Job]:
    """What is run before anything is found."""
    return [*(job for row in asked for job in row.own), *(job for row in asked for job in row.jobs)]


def _stage(plan: Plan, derived: DerivedJobs, jobs: Iterable[Job]) -> Plan:
    return replace(plan, jobs=tuple(derived.with_needs(jobs)), rows=(), by_id=derived.jobs)


def _tell_what_is_run_again(plan: Plan, known: Mapping[str, dict[str, Any]], store: Store, registry: Registry) -> None:
    """Tell the trackers of each attack that is done, but whose images were not kept and are wanted now."""
    for job in plan.jobs:
        if job.kind != "attack" or job.id in known or not store.has(job.id, job.digest):
            continue
        if not store.has(job.id, job.digest, (IMAGE_FILE,)) and images_wanted(job, plan.jobs, store):
            text = f"its images were not kept: {job.id} will be run again"
            registry.hooks.hook.job_noticed(job=job, text=text)
