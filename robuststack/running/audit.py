"""Runs the checks of an audit: their jobs, then those that confirm what fired on other images, then the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from robuststack.errors import JobFailed
from robuststack.evidence.checks.check import Check, reason_not
from robuststack.evidence.checks.verdict import Verdict, gravest
from robuststack.evidence.figures import measured
from robuststack.leaderboard.audit import AuditFigure, RowAudit
from robuststack.leaderboard.board_labels import Labels, read_labels
from robuststack.leaderboard.record import percent
from robuststack.plan.audit import IMAGES, Subject, subjects
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.job import IMAGES as IMAGE_FILE
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan, RowPlan
from robuststack.plugin.registry import Registry
from robuststack.running.cached import images_wanted
from robuststack.running.pipeline import Executor, Outcome, run_plan
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
    by_row = subjects(plan, derived, rows, images)
    asked = [
        _Asked(check, subject)
        for models in by_row.values()
        for subject in models
        for check in checks
        if not reason_not(check, subject)
    ]
    results = _Results(store)

    def run(jobs: Iterable[Job]) -> None:
        stage = replace(plan, jobs=tuple(derived.with_needs(jobs)), rows=(), by_id=derived.jobs)
        if not results.known.keys() >= {job.id for job in stage.jobs}:
            _tell_what_is_run_again(stage, store, registry)
            results.add(run_plan(stage, store, executor, registry, wait=wait))

    own = [job for models in by_row.values() for subject in models for job in subject.all_own()]
    run([*own, *(job for each in asked for job in each.jobs)])
    for each in asked:
        if not results.reason(each.jobs):
            each.confirming = list(each.check.confirming(each.subject, results))
    run(job for each in asked for job in each.confirming)
    audited = Audited(failed={derived.jobs[job].label: str(error) for job, error in results.failed.items()})
    for label, models in by_row.items():
        of_row = [each for each in asked if each.subject in models]
        audited.rows.append(_row(label, models, checks, of_row, results))
    return audited


@dataclass
class _Asked:
    """A check that applies to a model, and the jobs that it wants besides its first ones."""

    check: Check
    subject: Subject
    confirming: list[Job] = field(default_factory=list)
    _verdict: Verdict | None = None

    @cached_property
    def jobs(self) -> Sequence[Job]:
        """The check's first jobs."""
        return self.check.jobs(self.subject)

    def verdict(self, results: _Results) -> Verdict:
        """What the check says, once all of its jobs have run."""
        if self._verdict is None:
            jobs = [*self.jobs, *self.confirming]
            reason = results.reason(jobs)
            said = self.check.says("open", reason, jobs) if reason else self.check.verdict(self.subject, results)
            self._verdict = said
        return self._verdict

    def stronger(self, results: _Results, images: Subject) -> Sequence[Job]:
        """The judge jobs, on the images of the subject or of its `others`, that lower RA worst."""
        weak = self.verdict(results).verdict == "weak"
        return self.check.stronger(self.subject, results, images) if weak else ()


class _Results:
    """What jobs came to, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, JobFailed] = {}
        self.skipped: set[str] = set()
        self._labels: dict[str, Labels] = {}

    def add(self, outcome: Outcome) -> None:
        self.known |= outcome.results
        self.failed |= outcome.failed
        self.skipped |= set(outcome.skipped)

    def labels(self, job: Job) -> np.ndarray:
        return self._read(job).labels

    def truth(self, job: Job) -> np.ndarray:
        return self._read(job).truth

    def facts(self, job: Job) -> dict[str, Any]:
        facts: dict[str, Any] = self.known[job.id]["facts"]
        return facts

    def seen(self, job: Job) -> dict[str, Any]:
        checks: dict[str, Any] = self.known[job.id]["checks"]
        return checks

    def reason(self, jobs: Iterable[Job]) -> str:
        """Why jobs have no results, in words; empty if all have."""
        for job in jobs:
            if job.id in self.failed:
                return f"{job.kind} {job.label} failed: {self.failed[job.id]}"
            if job.id in self.skipped:
                return f"{job.kind} {job.label} needs a job that failed"
        return ""

    def _read(self, job: Job) -> Labels:
        if job.id not in self._labels:
            self._labels[job.id] = read_labels(self.store, job.id, self.known[job.id])
        return self._labels[job.id]


def _tell_what_is_run_again(plan: Plan, store: Store, registry: Registry) -> None:
    """Tell the trackers of each attack whose images were not kept and are wanted now."""
    for job in plan.jobs:
        done = job.kind == "attack" and store.has(job.id, job.digest)
        if done and not store.has(job.id, job.digest, (IMAGE_FILE,)) and images_wanted(job, plan.jobs, store):
            text = f"its images were not kept: {job.id} will be run again"
            registry.hooks.hook.job_noticed(job=job, text=text)


def _row(
    label: str, models: Sequence[Subject], checks: Sequence[Check], asked: Sequence[_Asked], results: _Results
) -> RowAudit:
    verdicts = []
    for check in checks:
        said = [_of_seed(each.verdict(results), each.subject, models) for each in asked if each.check is check]
        verdicts.append(gravest(said) if said else check.says("none", reason_not(check, models[0])))
    ra, ra_worst = _figures(models, asked, results)
    first = models[0]
    return RowAudit(
        label=label,
        images=first.count,
        others=first.others().count,
        jobs=tuple(dict.fromkeys(job for subject in models for job in subject.judges.values())),
        ra=ra,
        ra_worst=ra_worst,
        verdicts=tuple(verdicts),
    )


def _of_seed(verdict: Verdict, subject: Subject, models: Sequence[Subject]) -> Verdict:
    """The verdict, with the training seed that it is about if there are several."""
    if len(models) == 1:
        return verdict
    return verdict.model_copy(update={"text": f"training seed {subject.seeds[0]}: {verdict.text}"})


def _figures(
    models: Sequence[Subject], asked: Sequence[_Asked], results: _Results
) -> tuple[AuditFigure, AuditFigure] | tuple[None, None]:
    """RA worst over the row's own attacks, and over those and the stronger ones of weak checks, on the images of the audit
    that all of these attacked; None where jobs failed."""
    parts = [
        [_jobs_of(subject, images, asked, results) for images in (subject, subject.others())] for subject in models
    ]
    shared = [place for place in (0, 1) if all(jobs[place] for jobs in parts)]
    if not shared:
        return None, None
    truth = np.concatenate([results.truth(parts[0][place][0]) for place in shared])
    own: dict[tuple[int, ...], list[np.ndarray]] = {}
    every: dict[tuple[int, ...], list[np.ndarray]] = {}
    for subject, jobs in zip(models, parts, strict=True):
        labels = zip(*([results.labels(job) for job in jobs[place]] for place in shared), strict=True)
        every[subject.seeds] = [np.concatenate(of_attack, axis=1) for of_attack in labels]
        own[subject.seeds] = every[subject.seeds][: len(subject.judges)]
    return _figure(own, truth), _figure(every, truth)


def _figure(models: Mapping[tuple[int, ...], Sequence[np.ndarray]], truth: np.ndarray) -> AuditFigure:
    figure = measured(models, truth)
    return AuditFigure(value=percent(figure.value), low=percent(figure.low), high=percent(figure.high), n=len(truth))


def _jobs_of(subject: Subject, images: Subject, asked: Sequence[_Asked], results: _Results) -> list[Job]:
    """The judge jobs of the row's own attacks, then of the stronger ones, on the images of the subject or of its others;
    none if one of them was not judged there."""
    stronger = [job for each in asked if each.subject is subject for job in each.stronger(results, images)]
    jobs = list({job.id: job for job in [*images.all_own(), *stronger]}.values())
    return jobs if images.count and all(job.id in results.known for job in jobs) else []
