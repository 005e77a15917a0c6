"""An audit: what each check says of each row of a leaderboard, and robust accuracy with the stronger attacks counted."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from robuststack.evidence.checks.verdict import SEVERITY, Verdict
from robuststack.leaderboard.record import Percent, Record, SparseRecord, file_json, file_schema
from robuststack.leaderboard.row import Row
from robuststack.wording import percent_text

AUDIT_SCHEMA = 1
"""The layout of audit files that this version writes and reads."""


class AuditFigure(Record):
    """Robust accuracy in percent, the worst over attacks, with its 95 % interval."""

    value: Percent
    low: Percent
    high: Percent
    n: int = Field(ge=1)
    """The images that it is read on."""

    @property
    def text(self) -> str:
        """`0.0 [0.0, 1.9]`."""
        return percent_text(self.value, self.low, self.high)


class CheckQuestion(Record):
    """A check that was asked."""

    name: str
    question: str


class RowAudit(SparseRecord):
    """What the checks say of one row."""

    left_out: ClassVar[frozenset[str]] = frozenset({"labels"})
    label: str
    images: int
    """Images that the checks look at: a seeded sample of the row's own."""
    others: int
    """Other images that can confirm what they find."""
    jobs: tuple[str, ...]
    """The row's own judge jobs: an audit of other jobs is of another row, whatever its label."""
    labels: str = ""
    """A hash of what those jobs predicted (`RowJobs.labels`), if they are in the store: made anew with other code, they are
    of another row too."""
    ra: AuditFigure | None
    """RA worst of the row's own attacks on the images of the audit; None if they could not be judged."""
    ra_worst: AuditFigure | None
    """The same with the attacks of every check that says `weak`."""
    verdicts: tuple[Verdict, ...]

    def is_of(self, row: Row) -> bool:
        """Whether it is of a row as it is now."""
        same_labels = not (self.labels and row.jobs.labels) or self.labels == row.jobs.labels
        return set(self.jobs) == row.audited_jobs and same_labels

    @property
    def by_check(self) -> dict[str, Verdict]:
        return {verdict.check: verdict for verdict in self.verdicts}

    @property
    def broken(self) -> list[str]:
        """The checks that found a contradiction."""
        return [verdict.check for verdict in self.verdicts if verdict.verdict == "broken"]

    @property
    def weak(self) -> list[str]:
        """The checks that found a stronger attack."""
        return [verdict.check for verdict in self.verdicts if verdict.verdict == "weak"]

    @property
    def doubts(self) -> list[Verdict]:
        """The verdicts that are graver than `holds`, the gravest first."""
        graver = SEVERITY[SEVERITY.index("holds") + 1 :]
        told = [verdict for verdict in self.verdicts if verdict.verdict in graver]
        return sorted(told, key=lambda verdict: SEVERITY.index(verdict.verdict), reverse=True)

    @property
    def badge(self) -> str:
        """What the checks say in a word and their names: `broken: EPS`, `weak: STRONGER`; `open` or `holds` without any."""
        for word, names in (("broken", self.broken), ("weak", self.weak)):
            if names:
                return f"{word}: {', '.join(names)}"
        return "open" if any(verdict.verdict == "open" for verdict in self.verdicts) else "holds"


class Audit(Record):
    """The verdicts on the rows of a leaderboard, in the suite's order."""

    schema_: int = Field(alias="schema", description="The layout of this file.")
    suite: str
    suite_file: str | None
    """Where the suite's file lies, from this file's folder; None for an audit that is printed only."""
    overrides: tuple[str, ...]
    complete: bool
    """Whether every row of the suite was asked every check."""
    device: str
    precision: str
    checks: tuple[CheckQuestion, ...]
    rows: tuple[RowAudit, ...]

    @property
    def by_label(self) -> dict[str, RowAudit]:
        return {row.label: row for row in self.rows}

    @property
    def broken(self) -> list[str]:
        """The labels of the rows in which a check found a contradiction."""
        return [row.label for row in self.rows if row.broken]

    @model_validator(mode="after")
    def _this_layout(self) -> Audit:
        if self.schema_ != AUDIT_SCHEMA:
            raise ValueError(f"schema {self.schema_}; this version reads {AUDIT_SCHEMA}")
        return self


def audit_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of audit files."""
    return file_schema(Audit, "RobustStack audit")


def audit_json(audit: Audit) -> str:
    """The content of an audit file."""
    return file_json(audit)
