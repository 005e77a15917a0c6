"""The leaderboard as text: one table for each dataset, architecture and threat model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from tabulate import tabulate

from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.claims import claim_cells, reference_cells
from robuststack.leaderboard.entries import entry_cells
from robuststack.leaderboard.game import GAME_HEADER, game_cells
from robuststack.leaderboard.row import EXPECTED, WORST, ExtraValue, Latency, ReadFigure, Row, Scores
from robuststack.wording import options_text

Audits = Mapping[str, RowAudit]
"""Row label -> its audit."""
NO_AUDITS: Audits = {}


def tables(board: Board, style: str, audits: Audits = NO_AUDITS, *, reading: str = EXPECTED) -> list[tuple[str, str]]:
    """(heading, table) for each group of a leaderboard's rows, then for what was published; `style` is one of tabulate's
    formats. With `audits` (row label -> its audit) the rows say what their audit found.

    By the expected reading the others that rows have follow each table; another one, which all rows must have, stands in
    its place, without what audits and publications say of the expected one.
    """
    attacks = [attack.label for attack in board.attacks]
    titled = []
    for heading, group in groupby(board.rows, lambda row: row.heading):
        rows = list(group)
        if reading != EXPECTED:
            read = [row.under(reading) for row in rows]
            titled.append((f"{heading}, {reading}", _table(read, attacks, style, NO_AUDITS)))
            continue
        titled.append((heading, _table(rows, attacks, style, audits)))
        titled += [(f"{heading}, {name}", _reading_table(rows, name, attacks, style)) for name in rows[0].readings]
    if reading != EXPECTED:
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
        header = ["source", "claim", "published", "ours", "between"]
        titled.append(("Published comparisons beside ours", _plain(map(claim_cells, board.claims), header, style)))
    if board.reference:
        header = ["defense", "setting", "CA %", "RA %", "note", "source"]
        titled.append(("Published figures, not ours", _plain(map(reference_cells, board.reference), header, style)))
    return titled


def _plain(cells: Iterable[list[str]], header: list[str], style: str) -> str:
    return tabulate(list(cells), header, tablefmt=style, disable_numparse=True)


def _table(rows: list[Row], attacks: Sequence[str], style: str, audits: Audits) -> str:
    batches = list(dict.fromkeys(batch for row in rows for batch in row.latency_ms))
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    protocols = list(dict.fromkeys(name for row in rows for name in row.protocols))
    shifts = list(dict.fromkeys(name for row in rows for name in row.shift))
    sparse = any(row.nonzero_parameters != row.parameters for row in rows)
    header = ["defense", "point", "CA %", *[f"RA {name} %" for name in attacks], "RA worst %"]
    header += ["audit", "RA worst % audited"] if audits else []
    header += [f"{figure} {name} %" for name in protocols for figure in ("CA", "RA worst")]
    header += [f"CA {name} %" for name in shifts]
    header += ["parameters", *(["non-zero"] if sparse else []), "MACs"]
    header += [f"ms, batch {batch}" for batch in batches] + ["train s/epoch", *extra]
    body = [
        [
            row.title,
            options_text(row.point) or "-",
            row.ca.text,
            *[_accuracy(row.ra.get(name)) for name in (*attacks, WORST)],
            *(_audited(audits.get(row.label)) if audits else ()),
            *[cell for name in protocols for cell in _by_protocol(row.protocols.get(name))],
            *[_accuracy(row.shift.get(name)) for name in shifts],
            f"{row.parameters:,}",
            *([f"{row.nonzero_parameters:,}"] if sparse else []),
            f"{row.macs:,}",
            *[_milliseconds(row.latency_ms.get(batch)) for batch in batches],
            "-" if row.train_seconds_per_epoch is None else f"{row.train_seconds_per_epoch:.2f}",
            *[_cell(row.extra.get(name)) for name in extra],
        ]
        for row in rows
    ]
    aligned = ["left", "left", *["right"] * (len(header) - 2)]
    return tabulate(body, header, tablefmt=style, disable_numparse=True, colalign=aligned)


def _reading_table(rows: Sequence[Row], reading: str, attacks: Sequence[str], style: str) -> str:
    """What a reading says of rows, beside the table that has everything else."""
    header = ["defense", "point", "CA %", *[f"RA {name} %" for name in attacks], "RA worst %", "passes", "MACs"]
    body = [
        [
            row.title,
            options_text(row.point) or "-",
            scores.ca.text,
            *[_accuracy(scores.ra.get(name)) for name in (*attacks, WORST)],
            str(scores.passes),
            f"{scores.macs:,}",
        ]
        for row in rows
        if (scores := row.readings.get(reading))
    ]
    aligned = ["left", "left", *["right"] * (len(header) - 2)]
    return tabulate(body, header, tablefmt=style, disable_numparse=True, colalign=aligned)


def _seed_cells(row: Row) -> list[str]:
    """data and network, defense, point, clean accuracy and the worst case of each pair of seeds."""
    return [
        ", ".join(row.variant),
        row.title,
        options_text(row.point) or "-",
        *(", ".join(f"{seeds}: {value:.1f}" for seeds, value in (figure.seeds or {}).items()) or "-"
          for figure in (row.ca, row.worst)),
    ]  # fmt: skip


def _by_protocol(scores: Scores | None) -> tuple[str, str]:
    """CA and RA by another protocol than the headline's."""
    return (scores.ca.text, scores.worst.text) if scores else ("-", "-")


def _audited(audit: RowAudit | None) -> tuple[str, str]:
    """What the audit of a row found, and RA worst with the stronger attacks that it found."""
    if audit is None:
        return "-", "-"
    return audit.badge, audit.ra_worst.text if audit.ra_worst else "-"


def _accuracy(figure: ReadFigure | None) -> str:
    return figure.text if figure else "-"


def _milliseconds(latency: Latency | None) -> str:
    if latency is None:
        return "-"
    ratio = "" if latency.relative is None else f" {latency.relative:.2f}x"
    return f"{latency.median:.2f} ({latency.low:.2f}-{latency.high:.2f}){ratio}"


def _cell(value: ExtraValue) -> str:
    """What a plugin added to a row."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
