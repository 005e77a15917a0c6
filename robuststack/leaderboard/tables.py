"""The leaderboard as text: one table for each dataset, architecture and threat model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate

Row = Mapping[str, Any]


def tables(board: Row, style: str) -> list[tuple[str, str]]:
    """(heading, table) for each group of a leaderboard's rows; `style` is one of tabulate's formats."""
    attacks = [one["label"] for one in board["attacks"]]
    return [(heading, _table(list(group), attacks, style)) for heading, group in groupby(board["rows"], heading_of)]


def heading_of(row: Row) -> str:
    """What the rows of one table share."""
    threat = row["threat"]
    return f"{', '.join(row['variant'])}, {threat['norm'].capitalize()} eps {number(threat['eps'])}"


def _table(rows: list[Row], attacks: Sequence[str], style: str) -> str:
    batches = list(dict.fromkeys(batch for row in rows for batch in row["latency_ms"]))
    extra = list(dict.fromkeys(name for row in rows for name in row["extra"]))
    header = ["defense", "point", "CA %", *[f"RA {name} %" for name in attacks], "RA worst %", "parameters", "MACs"]
    header += [f"ms, batch {batch}" for batch in batches] + ["train s/epoch", *extra]
    body = [
        [
            _words(row["defense"], row["shown"]),
            _words("", row["point"]) or "-",
            figure(row["ca"]),
            *[figure(row["ra"].get(name)) for name in attacks],
            figure(row["ra"]["worst"]),
            f"{row['parameters']:,}",
            f"{row['macs']:,}",
            *[_milliseconds(row["latency_ms"].get(batch)) for batch in batches],
            _seconds(row["train_seconds_per_epoch"]),
            *[row["extra"].get(name, "-") for name in extra],
        ]
        for row in rows
    ]
    aligned = ["left", "left", *["right"] * (len(header) - 2)]
    return tabulate(body, header, tablefmt=style, disable_numparse=True, colalign=aligned)


def figure(one: Mapping[str, float] | None) -> str:
    """`98.4 [97.0, 99.2]`: percent with its 95 % interval."""
    return f"{one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}]" if one else "-"


def number(value: float) -> str:
    """A radius as people write it: 8/255 where it is a whole number of pixel steps."""
    steps = value * 255
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-9 else f"{value:g}"


def _words(name: str, values: Mapping[str, Any]) -> str:
    pairs = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
    return " ".join([name, *pairs]).strip()


def _milliseconds(timed: Mapping[str, float] | None) -> str:
    return f"{timed['median']:.2f} ({timed['low']:.2f}-{timed['high']:.2f})" if timed else "-"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
