"""A leaderboard in the formats that other programs read: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.row import EXPECTED, WORST, Row
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.leaderboard.table import NO_AUDITS, Audits, tables
from robuststack.wording import options_text

FORMATS = {"text": "simple", "markdown": "github", "latex": "latex_booktabs", "csv": "", "json": ""}
"""Format -> tabulate's name for it; the last two are no tables."""
PARTS = {"": "value", " low": "low", " high": "high", " lowest seed": "lowest", " highest seed": "highest"}
"""What CSV has of a figure: the end of a column's name -> the attribute."""
DATA = ("csv", "json")
"""Formats that have no room for a sentence."""


def written(board: Board, style: str, audits: Audits = NO_AUDITS, *, reading: str = EXPECTED) -> str:
    """The whole leaderboard in one of `FORMATS`: tables, then what is suspicious in their rows; in `DATA` rows alone.
    Tables have a column for the `audits` of rows if there are any.

    Another `reading` than the expected one, which all rows must have, is the only one in tables and CSV; JSON holds all.
    """
    if style == "json":
        return board_json(board)
    if style == "csv":
        return _csv(board, reading)
    if style == "latex":
        titled = [f"% {heading}\n{table}" for heading, table in tables(board, FORMATS[style], audits, reading=reading)]
        return "\n\n".join([*titled, *(f"% Suspicious: {line}" for line in doubtful_rows(board.rows))])
    marks = ("## ", "**Suspicious:** ") if style == "markdown" else ("", "Suspicious: ")
    return as_text(board, FORMATS[style], *marks, audits=audits, reading=reading)


def as_text(
    board: Board,
    style: str,
    heading_mark: str = "",
    doubt_mark: str = "Suspicious: ",
    *,
    audits: Audits = NO_AUDITS,
    reading: str = EXPECTED,
) -> str:
    """The tables of a leaderboard in one of tabulate's formats, each below its heading, then a paragraph for each row in
    which something is suspicious."""
    titled = [f"{heading_mark}{heading}\n\n{table}" for heading, table in tables(board, style, audits, reading=reading)]
    return "\n\n".join([*titled, *(f"{doubt_mark}{line}" for line in doubtful_rows(board.rows))])


def _csv(board: Board, reading: str) -> str:
    attacks = [*(attack.label for attack in board.attacks), WORST]
    header = ["dataset", "network", "norm", "eps", "defense", "point", "protocol", "reading", "split", "n", "draws"]
    header += [f"{name}{part}" for name in ("CA", *(f"RA {label}" for label in attacks)) for part in PARTS]
    header += ["parameters", "nonzero_parameters", "macs", "train_seconds_per_epoch"]
    extra = list(dict.fromkeys(name for row in board.rows for name in row.extra))
    header += extra
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row, name in _read(board, reading):
        figures = [row.ca, *(row.ra.get(label) for label in attacks)]
        writer.writerow([
            *row.variant, row.threat.norm, row.threat.eps, row.title, options_text(row.point), row.protocol, name,
            row.split, row.n, row.draws,
            *(getattr(figure, part, None) for figure in figures for part in PARTS.values()),
            row.parameters, row.nonzero_parameters, row.macs, row.train_seconds_per_epoch,
            *(row.extra.get(name) for name in extra),
        ])  # fmt: skip
    return buffer.getvalue().rstrip("\n")


def _read(board: Board, reading: str) -> Iterator[tuple[Row, str]]:
    """Each row by that reading; by the expected one and all others that it has, if that is asked for."""
    for row in board.rows:
        for name in [reading, *(row.readings if reading == EXPECTED else ())]:
            yield row.under(name), name
