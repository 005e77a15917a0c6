"""An audit as text: tables of rows and checks, and the reasons."""

from __future__ import annotations

from collections.abc import Iterator

from robuststack.evidence.checks.verdict import BADGES, Verdict
from robuststack.leaderboard.audit import Audit, AuditFigure, RowAudit
from robuststack.leaderboard.text_table import text_table

SHOWN_JOBS = 2
"""Jobs that a reason names; the audit's JSON file has all of them."""
LETTERS = ", ".join(f"{letter} {word}" for word, letter in BADGES.items()).replace("- none", "- does not apply")
FIGURES = ("RA worst %", "after the audit %", "images")


def audit_table(audit: Audit, style: str = "simple") -> str:
    """Rows and checks with a letter each, what the letters mean, and why: figure, threshold and jobs are in the reasons."""
    header = ["row", *(check.name for check in audit.checks), *FIGURES]
    body = [[row.label, *_letters(audit, row), *_figures(row)] for row in audit.rows]
    reasons = (
        "\n".join([label, *(f"  {_reason(verdict)}" for verdict in doubts)]) for label, doubts in _doubted(audit)
    )
    return "\n\n".join([text_table(body, header, style), LETTERS, *reasons])


def audit_markdown(audit: Audit) -> str:
    """The content of `<suite>.audit.md`: verdict and figures of each row, why checks do not hold, and what each says."""
    sample = " or ".join(map(str, sorted({row.images for row in audit.rows})))
    attacks, after, images = FIGURES
    parts = [
        f"# Audit of {audit.suite}",
        f"May the figures of [{audit.suite}]({audit.suite}.md) be believed? The checks look at {sample} images of each row,"
        f" on {audit.device} in {audit.precision}, and confirm what they find on others. `{attacks}` is of the row's own"
        f" attacks on all of these `{images}`; `{after}` counts the attacks of the checks that say weak, too.",
    ]
    if not audit.complete:
        parts.append("**Partial:** some rows or checks are left out.")
    if audit.overrides:
        parts.append("Overrides: " + ", ".join(f"`--set {override}`" for override in audit.overrides))
    verdicts = [[row.label, row.badge, *_figures(row)] for row in audit.rows]
    parts += [text_table(verdicts, ["row", "verdict", *FIGURES], "github"), "## Why a check does not hold"]
    parts += [
        "\n".join([f"{label}:\n", *(f"- {_reason(verdict)}" for verdict in doubts)])
        for label, doubts in _doubted(audit)
    ] or ["All checks that apply hold."]
    letters = [[row.label, *_letters(audit, row)] for row in audit.rows]
    parts += [
        "## What each check says",
        text_table(letters, ["row", *(check.name for check in audit.checks)], "github"),
    ]
    parts += [LETTERS + ".", "\n".join(f"- {check.name}: {check.question}" for check in audit.checks)]
    return "\n\n".join(parts) + "\n"


def _letters(audit: Audit, row: RowAudit) -> list[str]:
    return [row.by_check[check.name].badge for check in audit.checks]


def _figures(row: RowAudit) -> tuple[str, str, str]:
    def text(figure: AuditFigure | None) -> str:
        return figure.text if figure else "-"

    return text(row.ra), text(row.ra_worst), str(row.ra.n) if row.ra else "-"


def _doubted(audit: Audit) -> Iterator[tuple[str, list[Verdict]]]:
    """The rows of which a check does not hold, with the verdicts; those that hold or do not apply are only in the file."""
    for row in audit.rows:
        if row.doubts:
            yield row.label, row.doubts


def _reason(verdict: Verdict) -> str:
    jobs = ", ".join(verdict.jobs[-SHOWN_JOBS:])
    return f"{verdict.verdict} {verdict.check}: {verdict.text} ({jobs})"
