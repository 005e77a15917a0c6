"""The audit beside a leaderboard: what each check says of each row, and robust accuracy with the stronger attacks counted.

`<suite>.audit.json` lies beside `<suite>.json`. An audit of some rows, or by some checks, goes to
`<suite>.partial.audit.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from robuststack.errors import LeaderboardError
from robuststack.evidence.checks.verdict import SEVERITY, Verdict
from robuststack.leaderboard.record import Percent, Record, file_json, file_schema
from robuststack.leaderboard.row import Row
from robuststack.plugin.options import first_problem
from robuststack.running.atomic_files import make_folder, write_text
from robuststack.wording import percent_text

AUDIT_SCHEMA = 1
"""The layout of audit files that this version writes and reads."""
ENDING = ".audit.json"


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


class RowAudit(Record):
    """What the checks say of one row."""

    label: str
    images: int
    """Images that the checks look at: a seeded sample of the row's own."""
    others: int
    """Other images that can confirm what they find."""
    jobs: tuple[str, ...]
    """The row's own judge jobs: an audit of other jobs is of another row, whatever its label."""
    ra: AuditFigure | None
    """RA worst of the row's own attacks on the images of the audit; None if they could not be judged."""
    ra_worst: AuditFigure | None
    """The same with the attacks of every check that says `weak`."""
    verdicts: tuple[Verdict, ...]

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


def audit_path(board: Path) -> Path:
    """The audit file beside a leaderboard's JSON file."""
    return board.with_suffix(ENDING)


def board_files(folder: Path) -> list[Path]:
    """The JSON files of the leaderboards in a folder, without the audits beside them."""
    return sorted(path for path in folder.glob("*.json") if not path.name.endswith(ENDING))


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write an audit file.

    Raises:
        StoreError: it cannot be written; the old one is kept.
    """
    make_folder(folder)
    path = folder / f"{audit.suite}{'' if audit.complete else '.partial'}{ENDING}"
    write_text(path, audit_json(audit) + "\n")
    return path


def read_audit(path: Path) -> Audit:
    """An audit file.

    Raises:
        LeaderboardError: it is not one, or something in it is missing or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Audit.model_validate_json(text)
    except ValidationError as error:
        raise LeaderboardError(f"{path} is not an audit that this version reads: {_problem(error, text)}") from None
    except (OSError, ValueError) as error:
        raise LeaderboardError(f"{path} cannot be read as an audit: {error}") from None


def find_audit(board: Path, rows: Iterable[Row]) -> dict[str, RowAudit]:
    """The audits beside a leaderboard of the rows that it holds now, by label. A row that was run again since, and came to
    other jobs, has none.

    Raises:
        LeaderboardError: the file is there and cannot be read.
    """
    path = audit_path(board)
    if not path.is_file():
        return {}
    audits = read_audit(path).by_label
    return {
        row.label: audits[row.label]
        for row in rows
        if row.label in audits and set(audits[row.label].jobs) <= set(row.jobs.scored())
    }


def _problem(error: ValidationError, text: str) -> str:
    try:
        return str(first_problem(Audit, error, json.loads(text)))
    except ValueError:
        return "it is no JSON"
