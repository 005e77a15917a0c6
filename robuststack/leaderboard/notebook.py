"""Rows where one works with them: a line, a table in HTML, a tidy DataFrame, a picture."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robuststack.errors import RobustStackError
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.drawing import draw_figure
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.leaderboard.table import tables
from robuststack.suite.report import Drawing
from robuststack.wording import options_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SHOWN = 3
WIDTH = 17
"""Letters of a note below a picture, an inch."""
PLANE = Drawing(title="Clean and robust accuracy", x="ca", y=["ra"])


def summary(rows: Sequence[Row], failed: Mapping[str, str]) -> str:
    """A few lines: the first rows with their clean and worst robust accuracy, what is suspicious, and what failed."""
    lines = [f"Result of {len(rows)} row{'' if len(rows) == 1 else 's'}; .table() prints all of it"]
    for row in rows[:SHOWN]:
        name = " ".join(part for part in (row.title, options_text(row.point)) if part)
        lines.append(f"  {name}: CA {row.ca.text}, RA worst {row.worst.text} (%, n = {row.n})")
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN} more")
    lines += [f"  suspicious: {line}" for line in _first_doubts(rows)]
    return "\n".join([*lines, *(f"  failed: {line}" for line in failures(failed))])


def failures(failed: Mapping[str, str]) -> list[str]:
    """A line for each job that failed, by its label."""
    return [f"{label}: {reason}" for label, reason in failed.items()]


def as_html(board: Board, failed: Mapping[str, str]) -> str:
    """The tables of a leaderboard in HTML, each below its heading, what is suspicious, and what failed."""
    parts = [f"<h4>{html.escape(heading)}</h4>\n{table}" for heading, table in tables(board, "html")]
    lines = [f"Suspicious: {line}" for line in doubtful_rows(board.rows)]
    lines += [f"Failed: {line}" for line in failures(failed)]
    return "\n".join([*parts, *(f"<p>{html.escape(line)}</p>" for line in lines)])


def as_dataframe(rows: Sequence[Row]) -> DataFrame:
    """A row for each figure.

    Raises:
        RobustStackError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise RobustStackError("to_dataframe needs pandas: python -m pip install pandas") from None
    return pandas.DataFrame(list(_figures(rows)))


def plane(rows: Sequence[Row], failed: Mapping[str, str]) -> Figure:
    """Clean against robust accuracy, one panel for each dataset, network and threat model; below, what is suspicious.

    Raises:
        RobustStackError: there is no row.
    """
    picture = draw_figure(PLANE, rows, knobs=True)
    if picture is None:
        raise RobustStackError("; ".join(["there is no row to plot", *failures(failed)]))
    if doubts := _first_doubts(rows):
        width = int(WIDTH * picture.get_figwidth())
        lines = [line for doubt in doubts for line in textwrap.wrap(f"Suspicious: {doubt}", width)]
        picture.supxlabel("\n".join(lines), fontsize=7, color="C3")
    return picture


def _first_doubts(rows: Sequence[Row]) -> list[str]:
    doubts = doubtful_rows(rows)
    more = [f"and {len(doubts) - SHOWN} more rows or tables"] if len(doubts) > SHOWN else []
    return [*doubts[:SHOWN], *more]


def _figures(rows: Sequence[Row]) -> Sequence[dict[str, Any]]:
    return [
        {
            "label": row.label, "dataset": row.dataset, "architecture": row.architecture, "defense": row.title,
            **{f"point.{knob}": value for knob, value in row.point.items()},
            "norm": row.threat.norm, "eps": row.threat.eps, "protocol": protocol, "figure": figure, "attack": attack,
            "value": scored.value, "low": scored.low, "high": scored.high, "interval": scored.interval,
            "n": row.n, "draws": row.draws, "parameters": row.parameters or None, "macs": row.macs or None,
        }
        for row in rows
        for protocol, scores in row.scores.items()
        for figure, attack, scored in [
            ("ca", None, scores.ca), *(("ra", label, ra) for label, ra in scores.ra.items()),
            *(("shift", label, ca) for label, ca in (row.shift if protocol == row.protocol else {}).items()),
        ]
    ]  # fmt: skip
