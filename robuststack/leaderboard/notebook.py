"""Rows where one works with them: a line, a table in HTML, a tidy DataFrame, a picture."""

from __future__ import annotations

import html
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
PLANE = Drawing(title="Clean and robust accuracy", x="ca", y=["ra"])


def summary(rows: Sequence[Row], failed: Mapping[str, str]) -> str:
    """A few lines: the first rows with their clean and worst robust accuracy, and what failed."""
    lines = [f"Result of {len(rows)} row{'' if len(rows) == 1 else 's'}; .table() prints all of it"]
    for row in rows[:SHOWN]:
        name = " ".join(part for part in (row.title, options_text(row.point)) if part)
        lines.append(f"  {name}: CA {row.ca.text}, RA worst {row.worst.text} (%, n = {row.n})")
    if len(rows) > SHOWN:
        lines.append(f"  and {len(rows) - SHOWN} more")
    lines += [f"  failed: {label}: {reason}" for label, reason in failed.items()]
    return "\n".join(lines)


def as_html(board: Board) -> str:
    """The tables of a leaderboard in HTML, each below its heading, and what is suspicious."""
    parts = [f"<h4>{html.escape(heading)}</h4>\n{table}" for heading, table in tables(board, "html")]
    return "\n".join([*parts, *(f"<p>Suspicious: {html.escape(line)}</p>" for line in doubtful_rows(board.rows))])


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


def plane(rows: Sequence[Row]) -> Figure:
    """Clean against robust accuracy, one panel for each dataset, network and threat model.

    Raises:
        RobustStackError: there is no row.
    """
    picture = draw_figure(PLANE, rows)
    if picture is None:
        raise RobustStackError("there is no row to plot")
    return picture


def _figures(rows: Sequence[Row]) -> Sequence[dict[str, Any]]:
    return [
        {
            "label": row.label, "dataset": row.dataset, "architecture": row.architecture, "defense": row.title,
            **{f"point.{knob}": value for knob, value in row.point.items()},
            "norm": row.threat.norm, "eps": row.threat.eps, "protocol": protocol, "figure": figure, "attack": attack,
            "value": scored.value, "low": scored.low, "high": scored.high, "interval": scored.interval,
            "n": row.n, "draws": row.draws, "parameters": row.parameters, "macs": row.macs,
        }
        for row in rows
        for protocol, scores in row.scores.items()
        for figure, attack, scored in [("ca", None, scores.ca), *(("ra", label, ra) for label, ra in scores.ra.items())]
    ]  # fmt: skip
