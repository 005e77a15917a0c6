"""The audit in a bundle: the jobs of its checks, and what these jobs say if the checks are asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from robuststack.evidence.bundle.derived import changes
from robuststack.evidence.checks.catalogue import CHECKS
from robuststack.evidence.checks.check import Check
from robuststack.leaderboard.audit import Audit, RowAudit
from robuststack.leaderboard.audit_maker import AskedRow, AuditResults
from robuststack.plan.audit import IMAGES, Subject, subjects
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plugin.registry import Registry
from robuststack.running.job_store import JobStore

CONFIRMED = "its jobs find what other images have to confirm, and its verdict names no job that does"


@dataclass
class AuditedAgain:
    """An audit, asked again of the jobs that are there."""

    jobs: list[Job] = field(default_factory=list)
    """The jobs behind it that are there, what is needed first."""
    verdicts: int = 0
    figures: int = 0
    """How many verdicts, and how many rows' RA before and after the audit, were derived."""
    trusted: int = 0
    """Verdicts of which a job is not there."""
    problems: list[str] = field(default_factory=list)
    """Where the audit says otherwise than its jobs, a line each."""


def audit_again(
    plan: Plan, audit: Audit, results: Mapping[str, dict[str, Any]], store: JobStore, registry: Registry
) -> AuditedAgain:
    """Ask the checks of an audit again; `results` are those of the jobs that are there, and `store` has their labels.

    Raises:
        RobustStackError: its checks cannot be planned with the plugins that are installed.
    """
    derived = DerivedJobs(plan, registry)
    answers = AuditResults(store, results)
    again = AuditedAgain()
    behind: list[Job] = []
    for row in _asked(plan, audit, derived):
        said = audit.by_label[row.label]
        behind += row.own
        whole = True
        for check in row.checks:
            asked = [each for each in row.asked if each.check is check]
            first = [job for each in asked for job in each.jobs]
            known = all(job.id in results for job in first)
            confirming = [job for each in asked for job in each.confirm(answers)] if known else []
            behind += [*first, *confirming]
            named = said.by_check[check.name].jobs if check.name in said.by_check else ()
            if confirming and not any(job.id in named for job in confirming):
                # Were it taken on trust, whoever changes labels until others have to confirm them would not be found.
                again.problems.append(f"audit of {row.label} {check.name}: {CONFIRMED}")
            if not known or not all(job.id in results for job in confirming):
                again.trusted, whole = again.trusted + 1, False
                continue
            again.verdicts += 1
            again.problems += _differences(said, check, row, answers)
        if whole and all(job.id in results for job in row.own):
            again.figures += 1
            figures = dict(zip(("ra", "ra_worst"), row.figures(answers), strict=True))
            told = {name: getattr(said, name) for name in figures}
            again.problems += _changes(row.label, told, figures)
    again.jobs = [job for job in derived.with_needs(behind) if job.id in results]
    return again


def _asked(plan: Plan, audit: Audit, derived: DerivedJobs) -> Iterator[AskedRow]:
    """The rows of an audit with its checks, on as many images as it says."""
    names = {check.name for check in audit.checks}
    checks = [check for check in CHECKS if check.name in names]
    rows = [row for row in plan.rows if row.label in audit.by_label]
    # A row that has fewer images than a sample of the usual size takes all of them.
    sizes = dict.fromkeys([IMAGES, *(audit.by_label[row.label].images for row in rows)])
    by_size = {size: subjects(plan, derived, rows, size) for size in sizes}
    for row in rows:
        wanted = audit.by_label[row.label].images
        yield AskedRow.of(row.label, _of_size([models[row.label] for models in by_size.values()], wanted), checks)


def _of_size(candidates: list[list[Subject]], wanted: int) -> list[Subject]:
    """The first that looks at so many images."""
    return next((models for models in candidates if models[0].count == wanted), candidates[0])


def _differences(said: RowAudit, check: Check, row: AskedRow, answers: AuditResults) -> Iterator[str]:
    if check.name not in said.by_check:
        yield f"the audit has no verdict of {check.name} of {row.label}"
        return
    told, derived = (
        verdict.model_dump(mode="json") for verdict in (said.by_check[check.name], row.verdict(check, answers))
    )
    yield from _changes(f"{row.label} {check.name}", told, derived)


def _changes(of: str, told: Mapping[str, Any], derived: Mapping[str, Any]) -> Iterator[str]:
    first, second = (
        {key: value.model_dump(mode="json") if hasattr(value, "model_dump") else value for key, value in each.items()}
        for each in (told, derived)
    )
    yield from (f"audit of {of}: {line}" for line in changes(first, second, "the audit", "its jobs"))
