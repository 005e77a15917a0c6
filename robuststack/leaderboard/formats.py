"""A leaderboard in the formats that other programs read: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.columns import EVERYTHING, NO_AUDITS, Audits, Shown, bare
from robuststack.leaderboard.keys import COUNTS
from robuststack.leaderboard.row import EXPECTED, WORST, Row
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.leaderboard.table import tables
from robuststack.wording import options_text

FORMATS = {"text": "simple", "markdown": "github", "latex": "latex_booktabs", "csv": "", "json": ""}
"""Format -> tabulate's name for it; the last two are no tables."""
PARTS = {"": "value", " low": "low", " high": "high", " lowest seed": "lowest", " highest seed": "highest"}
"""What CSV has of a figure: the end of a column's name -> the attribute."""
WHAT = ("dataset", "network", "norm", "eps", "defense", "point", "protocol", "reading", "split", "n", "draws")
"""The columns of CSV that say what a row is: they are always there."""
BOLD_FORMATS = ("markdown", "latex")
DATA = ("csv", "json")
"""Formats that have no room for a sentence."""


def written(
    board: Board, style: str, audits: Audits = NO_AUDITS, *, reading: str = EXPECTED, shown: Shown = EVERYTHING
) -> str:
    """The whole leaderboard in one of `FORMATS`: tables, then what is suspicious in their rows; in `DATA` rows alone.
    Tables have a column for the `audits` of rows if there are any.

    Another `reading` than the expected one, which all rows must have, is the only one in tables and CSV; JSON holds all.
    `shown` chooses columns of the rows' tables, or of CSV.

    Raises:
        LeaderboardError: no column has such a name, or the format has no columns or no bold.
    """
    if shown.bold and style not in BOLD_FORMATS:
        raise LeaderboardError(f"--bold is for --format {' and '.join(BOLD_FORMATS)}, not for {style}")
    if style == "json":
        if shown.names:
            raise LeaderboardError("--columns is for tables and CSV: JSON holds all of a leaderboard")
        return board_json(board)
    if style == "csv":
        return _csv(board, reading, shown.names)
    if style == "latex":
        headed = tables(board, FORMATS[style], audits, reading=reading, shown=shown)
        titled = [f"% {heading}\n{table}" for heading, table in headed]
        return "\n\n".join([*titled, *(f"% Suspicious: {line}" for line in doubtful_rows(board.rows))])
    marks = ("## ", "**Suspicious:** ") if style == "markdown" else ("", "Suspicious: ")
    return as_text(board, FORMATS[style], *marks, audits=audits, reading=reading, shown=shown)


def as_text(
    board: Board,
    style: str,
    heading_mark: str = "",
    doubt_mark: str = "Suspicious: ",
    *,
    audits: Audits = NO_AUDITS,
    reading: str = EXPECTED,
    shown: Shown = EVERYTHING,
) -> str:
    """The tables of a leaderboard in one of tabulate's formats, each below its heading, then a paragraph for each row in
    which something is suspicious."""
    headed = tables(board, style, audits, reading=reading, shown=shown)
    titled = [f"{heading_mark}{heading}\n\n{table}" for heading, table in headed]
    return "\n\n".join([*titled, *(f"{doubt_mark}{line}" for line in doubtful_rows(board.rows))])


def _csv(board: Board, reading: str, chosen: Sequence[str]) -> str:
    attacks = [*(attack.label for attack in board.attacks), WORST]
    header = [*WHAT]
    shifts = list(dict.fromkeys(label for row in board.rows for label in row.shift))
    figures_of = ["CA", *(f"RA {label}" for label in attacks), *(f"CA {label}" for label in shifts)]
    header += [f"{name}{part}" for name in figures_of for part in PARTS]
    header += [*COUNTS, "train_seconds_per_epoch"]
    extra = list(dict.fromkeys(name for row in board.rows for name in row.extra))
    header += extra
    wanted = [*range(len(WHAT)), *(place for name in chosen for place in _places(header, name))]
    places = wanted if chosen else range(len(header))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([header[place] for place in places])
    for row, name, headline in _read(board, reading):
        figures = [row.ca, *(row.ra.get(label) for label in attacks), *(row.shift.get(label) for label in shifts)]
        cells = [
            *row.variant, row.threat.norm, row.threat.eps, row.title, options_text(row.point), row.protocol, name,
            row.split, row.n, row.draws if headline else None,
            *(getattr(figure, part, None) for figure in figures for part in PARTS.values()),
            *(getattr(row, count) or None for count in COUNTS), row.train_seconds_per_epoch,
            *(row.extra.get(name) for name in extra),
        ]  # fmt: skip
        writer.writerow([cells[place] for place in places])
    return buffer.getvalue().rstrip("\n")


def _places(header: Sequence[str], name: str) -> list[int]:
    """Where a figure and the ends of its intervals, or another column, stand.

    Raises:
        LeaderboardError: nowhere.
    """
    names = {f"{start}{bare(name)}{part}" for start in ("", "ra ", "ca ") for part in PARTS}
    places = [place for place, column in enumerate(header) if place >= len(WHAT) and column.lower() in names]
    if not places:
        raise LeaderboardError(f"--columns {name}: no such column: {did_you_mean(name, header[len(WHAT) :])}")
    return places


def _read(board: Board, reading: str) -> Iterator[tuple[Row, str, bool]]:
    """The rows by that reading; by the expected one and all others that they have, if that is asked for: first by the
    headline's protocol, which the number of draws is of (then True), and then by the others."""
    scored = [(row, True) for row in board.rows]
    others = dict.fromkeys(protocol for row in board.rows for protocol in row.protocols)
    scored += [(row.scored_by(other), False) for other in others for row in board.rows if other in row.protocols]
    for row, headline in scored:
        names = [EXPECTED, *row.readings] if reading == EXPECTED else {reading} & {EXPECTED, *row.readings}
        for name in names:
            yield row.under(name), name, headline
