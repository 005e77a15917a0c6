"""A leaderboard in the formats that other programs read: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io

from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.row import WORST
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.leaderboard.table import NO_AUDITS, Audits, tables
from robuststack.wording import options_text

FORMATS = {"text": "simple", "markdown": "github", "latex": "latex_booktabs", "csv": "", "json": ""}
"""Format -> tabulate's name for it; the last two are no tables."""
DATA = ("csv", "json")
"""Formats that have no room for a sentence."""


def written(board: Board, style: str, audits: Audits = NO_AUDITS) -> str:
    """The whole leaderboard in one of `FORMATS`: tables, then what is suspicious in their rows; in `DATA` rows alone.
    Tables have a column for the `audits` of rows if there are any."""
    if style == "json":
        return board_json(board)
    if style == "csv":
        return _csv(board)
    if style == "latex":
        titled = [f"% {heading}\n{table}" for heading, table in tables(board, FORMATS[style], audits)]
        return "\n\n".join([*titled, *(f"% Suspicious: {line}" for line in doubtful_rows(board.rows))])
    marks = ("## ", "**Suspicious:** ") if style == "markdown" else ("", "Suspicious: ")
    return as_text(board, FORMATS[style], *marks, audits=audits)


def as_text(
    board: Board,
    style: str,
    heading_mark: str = "",
    doubt_mark: str = "Suspicious: ",
    *,
    audits: Audits = NO_AUDITS,
) -> str:
    """The tables of a leaderboard in one of tabulate's formats, each below its heading, then a paragraph for each row in
    which something is suspicious."""
    titled = [f"{heading_mark}{heading}\n\n{table}" for heading, table in tables(board, style, audits)]
    return "\n\n".join([*titled, *(f"{doubt_mark}{line}" for line in doubtful_rows(board.rows))])


def _csv(board: Board) -> str:
    attacks = [*(attack.label for attack in board.attacks), WORST]
    header = ["dataset", "network", "norm", "eps", "defense", "point", "protocol", "split", "n", "draws"]
    header += [
        f"{name}{part}" for name in ("CA", *(f"RA {label}" for label in attacks)) for part in ("", " low", " high")
    ]
    header += ["parameters", "nonzero_parameters", "macs", "train_seconds_per_epoch"]
    extra = list(dict.fromkeys(name for row in board.rows for name in row.extra))
    header += extra
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in board.rows:
        figures = [row.ca, *(row.ra.get(label) for label in attacks)]
        writer.writerow([
            *row.variant, row.threat.norm, row.threat.eps, row.title, options_text(row.point), row.protocol, row.split,
            row.n, row.draws,
            *(cell for figure in figures for cell in ((figure.value, figure.low, figure.high) if figure else ("",) * 3)),
            row.parameters, row.nonzero_parameters, row.macs, row.train_seconds_per_epoch,
            *(row.extra.get(name) for name in extra),
        ])  # fmt: skip
    return buffer.getvalue().rstrip("\n")
