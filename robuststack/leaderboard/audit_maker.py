"""Verdicts from job results: what each check says of a row, and robust accuracy with the stronger attacks counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from robuststack.errors import JobFailed, StoreError
from robuststack.evidence.checks.check import Check, reason_not
from robuststack.evidence.checks.verdict import Verdict, gravest
from robuststack.evidence.decisions import Side
from robuststack.evidence.figures import measured
from robuststack.leaderboard.audit import AuditFigure, RowAudit
from robuststack.leaderboard.board_labels import label_arrays, labels_hash
from robuststack.leaderboard.record import percent
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.running.job_store import JobStore

T = TypeVar("T")
SIDES = 16
"""Readings that are kept: a check holds the same few against each other, and each is as large as the labels of a job."""


@dataclass
class AuditResults:
    """What the jobs of an audit came to: the `Results` that checks are given. Labels are read once."""

    store: JobStore
    known: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Job -> its result."""
    failed: dict[str, JobFailed] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    """Jobs that need a failed one."""
    _labels: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)
    _sides: OrderedDict[Hashable, Side] = field(default_factory=OrderedDict, repr=False)
    _worked_out: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def labels(self, job: Job) -> np.ndarray:
        return self._read(job)[0]

    def truth(self, job: Job) -> np.ndarray:
        return self._read(job)[1]

    def side(self, jobs: Sequence[Job], *, pooled: bool = False) -> Side:
        key = pooled, *(job.id for job in jobs)
        if key not in self._sides:
            labels = [self.labels(job) for job in jobs]
            if pooled:
                labels = [np.stack([labels[draw % len(labels)][draw] for draw in range(len(labels[0]))])]
            self._sides[key] = Side.of(labels, self.truth(jobs[0]))
            if len(self._sides) > SIDES:
                self._sides.popitem(last=False)
        self._sides.move_to_end(key)
        return self._sides[key]

    def labels_hash(self, jobs: Iterable[str]) -> str:
        """That of judge jobs of a row (`board_labels.labels_hash`); empty if the store has them not."""
        try:
            return labels_hash([self.store.result(job) for job in jobs])
        except StoreError:
            return ""

    def facts(self, job: Job) -> dict[str, Any]:
        facts: dict[str, Any] = self.known[job.id]["facts"]
        return facts

    def seen(self, job: Job) -> dict[str, Any]:
        checks: dict[str, Any] = self.known[job.id]["checks"]
        return checks

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        if key not in self._worked_out:
            self._worked_out[key] = work()
        worked_out: T = self._worked_out[key]
        return worked_out

    def reason(self, jobs: Iterable[Job]) -> str:
        """Why jobs have no results, in words; empty if all have."""
        for job in jobs:
            if job.id in self.failed:
                return f"{job.kind} {job.label} failed: {self.failed[job.id]}"
            if job.id in self.skipped:
                return f"{job.kind} {job.label} needs a job that failed"
        return ""

    def _read(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        if job.id not in self._labels:
            self._labels[job.id] = label_arrays(self.store, job.id, self.known[job.id])
        return self._labels[job.id]


@dataclass
class AskedCheck:
    """A check that applies to a model, and the jobs that it wants besides its first ones."""

    check: Check
    subject: Subject
    confirming: list[Job] = field(default_factory=list)
    _verdict: Verdict | None = None

    @cached_property
    def jobs(self) -> Sequence[Job]:
        """The check's first jobs."""
        return self.check.jobs(self.subject)

    def confirm(self, results: AuditResults) -> list[Job]:
        """Ask which jobs have to confirm what the first ones found, if these have results."""
        if not results.reason(self.jobs):
            self.confirming = list(self.check.confirming(self.subject, results))
        return self.confirming

    def verdict(self, results: AuditResults) -> Verdict:
        """What the check says, once all of its jobs have run."""
        if self._verdict is None:
            jobs = [*self.jobs, *self.confirming]
            reason = results.reason(jobs)
            said = self.check.says("open", reason, jobs) if reason else self.check.verdict(self.subject, results)
            self._verdict = said
        return self._verdict

    def stronger(self, results: AuditResults, images: Subject) -> Sequence[Job]:
        """The judge jobs, on the images of the subject or of its `others`, that lower RA worst."""
        weak = self.verdict(results).verdict == "weak"
        return self.check.stronger(self.subject, results, images) if weak else ()


@dataclass(frozen=True)
class AskedRow:
    """The checks that are asked of a row: those that apply to each of its models."""

    label: str
    models: Sequence[Subject]
    checks: Sequence[Check]
    asked: Sequence[AskedCheck]

    @classmethod
    def of(cls, label: str, models: Sequence[Subject], checks: Sequence[Check]) -> AskedRow:
        """`models` are what the checks look at, one for each training seed."""
        asked = [AskedCheck(check, subject) for subject in models for check in checks if not reason_not(check, subject)]
        return cls(label, models, checks, asked)

    @property
    def own(self) -> list[Job]:
        """The row's own attacks on the images of the checks."""
        return [job for subject in self.models for job in subject.all_own()]

    @property
    def jobs(self) -> list[Job]:
        """The checks' first jobs."""
        return [job for check in self.asked for job in check.jobs]

    def audit(self, results: AuditResults) -> RowAudit:
        """What the checks say, once their jobs and those that confirm them have run."""
        verdicts = [self.verdict(check, results) for check in self.checks]
        ra, ra_worst = self.figures(results)
        first = self.models[0]
        jobs = tuple(dict.fromkeys(job for subject in self.models for job in subject.judges.values()))
        return RowAudit(
            label=self.label,
            images=first.count,
            others=first.others.count,
            jobs=jobs,
            labels=results.labels_hash(jobs),
            ra=ra,
            ra_worst=ra_worst,
            verdicts=tuple(verdicts),
        )

    def verdict(self, check: Check, results: AuditResults) -> Verdict:
        """What one of the checks says: the gravest verdict over training seeds."""
        said = [self._of_seed(asked, results) for asked in self.asked if asked.check is check]
        return gravest(said) if said else check.says("none", reason_not(check, self.models[0]))

    def _of_seed(self, asked: AskedCheck, results: AuditResults) -> Verdict:
        """A check's verdict, with the training seed that it is about if there are several."""
        verdict = asked.verdict(results)
        if len(self.models) == 1:
            return verdict
        return verdict.model_copy(update={"text": f"training seed {asked.subject.seeds[0]}: {verdict.text}"})

    def figures(self, results: AuditResults) -> tuple[AuditFigure, AuditFigure] | tuple[None, None]:
        """RA worst over the row's own attacks, and over those and the stronger ones of weak checks, on the images of the
        audit that all of these attacked; None where jobs failed."""
        parts = [
            [self._jobs_of(subject, images, results) for images in (subject, subject.others)] for subject in self.models
        ]
        shared = [place for place in (0, 1) if all(jobs[place] for jobs in parts)]
        if not shared:
            return None, None
        truth = np.concatenate([results.truth(parts[0][place][0]) for place in shared])
        own: dict[tuple[int, ...], list[np.ndarray]] = {}
        every: dict[tuple[int, ...], list[np.ndarray]] = {}
        for subject, jobs in zip(self.models, parts, strict=True):
            labels = zip(*([results.labels(job) for job in jobs[place]] for place in shared), strict=True)
            every[subject.seeds] = [np.concatenate(of_attack, axis=1) for of_attack in labels]
            own[subject.seeds] = every[subject.seeds][: len(subject.judges)]
        return _figure(own, truth), _figure(every, truth)

    def _jobs_of(self, subject: Subject, images: Subject, results: AuditResults) -> list[Job]:
        """The judge jobs of the row's own attacks, then of the stronger ones, on the images of the subject or of its
        others; none if one of them was not judged there."""
        asked = [check for check in self.asked if check.subject is subject]
        stronger = [job for check in asked for job in check.stronger(results, images)]
        jobs = list({job.id: job for job in [*images.all_own(), *stronger]}.values())
        return jobs if images.count and all(job.id in results.known for job in jobs) else []


def _figure(models: Mapping[tuple[int, ...], Sequence[np.ndarray]], truth: np.ndarray) -> AuditFigure:
    figure = measured(models, truth)
    return AuditFigure(value=percent(figure.value), low=percent(figure.low), high=percent(figure.high), n=len(truth))
