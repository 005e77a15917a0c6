"""docs/randomised-defenses.md: its table of claims is that of the committed leaderboard and its audit."""

from __future__ import annotations

import re
from pathlib import Path

from tabulate import tabulate

import robuststack as rs
from robuststack.leaderboard.audit_file import audit_path, read_audit
from robuststack.leaderboard.board_file import read_board

ROOT = Path(__file__).parent.parent
BOARD = ROOT / "leaderboard" / "claims.json"
PAGE = (ROOT / "docs" / "randomised-defenses.md").read_text(encoding="utf-8")


def interval(figure: rs.Figure) -> str:
    return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"


def table() -> str:
    """Each defense as its paper scores it, against an attacker who averages, and after the audit."""
    audits, body = read_audit(audit_path(BOARD)).by_label, []
    for row in read_board(BOARD).rows:
        published, audit = row.protocols.get("published"), audits[row.label]
        assert audit.ra_worst is not None
        body.append(
            [
                f"`{row.title}`"
                + (
                    f" at {', '.join(f'{name} {value:g}' for name, value in row.point.items() if value)}"
                    if row.point
                    else ""
                ),
                f"{row.ca.value:.1f}",
                interval(published.worst) if published else "-",
                interval(row.worst),
                f"{audit.ra_worst.value:.1f} [{audit.ra_worst.low:.1f}, {audit.ra_worst.high:.1f}], {audit.badge}",
            ]
        )
    return tabulate(
        body,
        ["", "CA %", "RA % as published", "RA % averaged over", "audited"],
        tablefmt="github",
        disable_numparse=True,
    )


def test_the_table_is_that_of_the_committed_leaderboard() -> None:
    match = re.search(r"<!-- claims -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert match, "the page has no place for the table"
    assert match[1].strip() == table(), f"the table should be:\n\n{table()}\n"
