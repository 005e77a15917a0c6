"""An audit as text: a table of rows and checks, then the reasons."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from robuststack.evidence.checks.verdict import BADGES
from robuststack.leaderboard.audit import Audit, AuditFigure, RowAudit

SHOWN_JOBS = 2
"""Jobs that a reason names; the audit's file has all of them."""


def audit_table(audit: Audit, style: str = "simple") -> str:
    """Rows and checks with a letter each, what the letters mean, and why: figure, threshold and jobs are in the reasons."""
    names = [check.name for check in audit.checks]
    header = ["row", *names, "RA worst %", "after the audit %", "images"]
    body = [
        [row.label, *(row.by_check[name].badge for name in names), *_figures(row), row.ra.n if row.ra else "-"]
        for row in audit.rows
    ]
    table = tabulate(body, header, tablefmt=style, disable_numparse=True)
    letters = ", ".join(f"{letter} {word}" for word, letter in BADGES.items())
    return "\n\n".join([table, letters.replace("- none", "- does not apply"), *_reasons(audit)])


def _figures(row: RowAudit) -> tuple[str, str]:
    def text(figure: AuditFigure | None) -> str:
        return figure.text if figure else "-"

    return text(row.ra), text(row.ra_worst)


def _reasons(audit: Audit) -> Iterator[str]:
    """For each row, why a check does not hold; checks that hold or do not apply are only in the file."""
    for row in audit.rows:
        lines = [row.label]
        for verdict in row.doubts:
            jobs = ", ".join(verdict.jobs[-SHOWN_JOBS:])
            lines.append(f"  {verdict.verdict} {verdict.check}: {verdict.text} ({jobs})")
        if row.doubts:
            yield "\n".join(lines)
