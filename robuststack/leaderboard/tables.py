"""The leaderboard as text: one table for each dataset, architecture and threat model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate

from robuststack.leaderboard.entries import entry_cells
from robuststack.leaderboard.keys import Row
from robuststack.leaderboard.published import claim_cells, reference_cells


def tables(board: Row, style: str) -> list[tuple[str, str]]:
    """(heading, table) for each group of a leaderboard's rows, then for what was published; `style` is one of tabulate's
    formats."""
    attacks = [one["label"] for one in board["attacks"]]
    found = [(heading, _table(list(group), attacks, style)) for heading, group in groupby(board["rows"], heading_of)]
    if any(one["settings"] > 1 for one in board["entries"]):
        header = ["data, network", "defense", "models", "settings", "hypervolume %", "knee", "dominated settings"]
        found.append(("Each defense as one entry", _plain(map(entry_cells, board["entries"]), header, style)))
    if board["claims"]:
        header = ["source", "claim", "published", "ours", "between"]
        found.append(("Published comparisons beside ours", _plain(map(claim_cells, board["claims"]), header, style)))
    if board["reference"]:
        header = ["defense", "setting", "CA %", "RA %", "note", "source"]
        found.append(("Published figures, not ours", _plain(map(reference_cells, board["reference"]), header, style)))
    return found


def _plain(cells: Iterable[list[str]], header: list[str], style: str) -> str:
    return tabulate(list(cells), header, tablefmt=style, disable_numparse=True)


def heading_of(row: Row) -> str:
    """What the rows of one table share."""
    threat = row["threat"]
    return f"{', '.join(row['variant'])}, {threat['norm'].capitalize()} eps {number(threat['eps'])}"


def _table(rows: list[Row], attacks: Sequence[str], style: str) -> str:
    batches = list(dict.fromkeys(batch for row in rows for batch in row["latency_ms"]))
    extra = list(dict.fromkeys(name for row in rows for name in row["extra"]))
    protocols = list(dict.fromkeys(name for row in rows for name in row["protocols"]))
    sparse = any(row["nonzero_parameters"] != row["parameters"] for row in rows)
    header = ["defense", "point", "CA %", *[f"RA {name} %" for name in attacks], "RA worst %"]
    header += [f"{figure} {name} %" for name in protocols for figure in ("CA", "RA worst")]
    header += ["parameters", *(["non-zero"] if sparse else []), "MACs"]
    header += [f"ms, batch {batch}" for batch in batches] + ["train s/epoch", *extra]
    body = [
        [
            words(row["defense"], row["shown"]),
            words("", row["point"]) or "-",
            figure(row["ca"]),
            *[figure(row["ra"].get(name)) for name in attacks],
            figure(row["ra"]["worst"]),
            *[cell for name in protocols for cell in _scored(row["protocols"].get(name))],
            f"{row['parameters']:,}",
            *([f"{row['nonzero_parameters']:,}"] if sparse else []),
            f"{row['macs']:,}",
            *[_milliseconds(row["latency_ms"].get(batch)) for batch in batches],
            _seconds(row["train_seconds_per_epoch"]),
            *[_cell(row["extra"].get(name)) for name in extra],
        ]
        for row in rows
    ]
    aligned = ["left", "left", *["right"] * (len(header) - 2)]
    return tabulate(body, header, tablefmt=style, disable_numparse=True, colalign=aligned)


def _scored(protocol: Row | None) -> tuple[str, str]:
    """CA and RA by another protocol than the headline's."""
    return (figure(protocol["ca"]), figure(protocol["ra"]["worst"])) if protocol else ("-", "-")


def figure(one: Mapping[str, float] | None) -> str:
    """`98.4 [97.0, 99.2]`: percent with its 95 % interval."""
    return f"{one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}]" if one else "-"


def number(value: float) -> str:
    """A radius as people write it: 8/255 where it is a whole number of pixel steps."""
    steps = value * 255
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-9 else f"{value:g}"


def words(name: str, values: Mapping[str, Any]) -> str:
    """`oat dim=128`: a name and what tells it apart."""
    pairs = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
    return " ".join([name, *pairs]).strip()


def _milliseconds(timed: Mapping[str, float] | None) -> str:
    if not timed:
        return "-"
    # Leaderboards of earlier versions have no ratio.
    ratio = f" {timed['relative']:.2f}x" if "relative" in timed else ""
    return f"{timed['median']:.2f} ({timed['low']:.2f}-{timed['high']:.2f}){ratio}"


def _cell(value: Any) -> str:
    """What a plugin added to a row."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
