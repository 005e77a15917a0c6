"""The leaderboard as text: one table for each dataset, architecture and threat model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.claims import claim_cells, reference_cells
from robuststack.leaderboard.columns import (
    EVERYTHING,
    NO_AUDITS,
    Audits,
    Column,
    Shown,
    accuracies,
    columns,
    macs,
    named,
)
from robuststack.leaderboard.entries import entry_cells
from robuststack.leaderboard.game import GAME_HEADER, game_cells
from robuststack.leaderboard.row import EXPECTED, Row
from robuststack.leaderboard.text_table import text_table
from robuststack.wording import options_text


def tables(
    board: Board, style: str, audits: Audits = NO_AUDITS, *, reading: str = EXPECTED, shown: Shown = EVERYTHING
) -> list[tuple[str, str]]:
    """(heading, table) for each group of a leaderboard's rows, then for what was published; `style` is one of tabulate's
    formats. With `audits` (row label -> its audit) the rows say what their audit found.

    By the expected reading the others that rows have follow each table; another one, which all rows must have, stands in
    its place, without what audits and publications say of the expected one. If `shown` chooses columns, the rows' tables
    are all there is.
    """
    attacks = [attack.label for attack in board.attacks]
    titled = []
    for heading, group in groupby(board.rows, lambda row: row.heading):
        rows = list(group)
        if reading != EXPECTED:
            read = [row.under(reading) for row in rows]
            titled.append((f"{heading}, {reading}", _table(read, attacks, style, NO_AUDITS, shown)))
            continue
        titled.append((heading, _table(rows, attacks, style, audits, shown)))
        if not shown.names:
            titled += [
                (f"{heading}, {name}", _reading_table(rows, name, attacks, style, shown)) for name in rows[0].readings
            ]
    if reading != EXPECTED or shown.names:
        return titled
    if seeded := [row for row in board.rows if row.ca.seeds or row.worst.seeds]:
        header = ["data, network", "defense", "point", "CA % by seed", "RA worst % by seed"]
        titled.append(("Each seed", _plain(map(_seed_cells, seeded), header, style)))
    if any(entry.settings > 1 for entry in board.entries):
        header = ["data, network", "defense", "models", "settings", "hypervolume %", "knee", "dominated settings"]
        titled.append(("Each defense as one entry", _plain(map(entry_cells, board.entries), header, style)))
    if board.games:
        titled.append(("The knob as a game", _plain(map(game_cells, board.games), GAME_HEADER, style)))
    if board.claims:
        header = ["source", "claim", "published", "ours", "verdict", "between"]
        cells = [claim_cells(claim, audits) for claim in board.claims]
        titled.append(("Published comparisons beside ours", _plain(cells, header, style)))
    if board.reference:
        header = ["defense", "setting", "CA %", "RA %", "note", "source"]
        titled.append(("Published figures, not ours", _plain(map(reference_cells, board.reference), header, style)))
    return titled


def _plain(cells: Iterable[list[str]], header: list[str], style: str) -> str:
    return text_table(cells, header, style)


def _table(rows: list[Row], attacks: Sequence[str], style: str, audits: Audits, shown: Shown) -> str:
    return shown.table(columns(rows, attacks, audits), rows, style)


def _reading_table(rows: Sequence[Row], reading: str, attacks: Sequence[str], style: str, shown: Shown) -> str:
    """What a reading says of rows, beside the table that has everything else."""
    having = [row.under(reading) for row in rows if reading in row.readings]
    passes = Column(
        "passes", lambda row: str(row.readings[reading].passes), lambda row: row.readings[reading].passes, True
    )
    return shown.table([*named(), *accuracies(attacks), passes, macs()], having, style)


def _seed_cells(row: Row) -> list[str]:
    """data and network, defense, point, clean accuracy and the worst case of each pair of seeds."""
    return [
        ", ".join(row.variant),
        row.title,
        options_text(row.point) or "-",
        *(", ".join(f"{seeds}: {value:.1f}" for seeds, value in (figure.seeds or {}).items()) or "-"
          for figure in (row.ca, row.worst)),
    ]  # fmt: skip
