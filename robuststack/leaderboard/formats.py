"""A leaderboard in the formats that other programs read: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from robuststack.errors import LeaderboardError, did_you_mean
from robuststack.leaderboard.keys import Row, look_up, number, split_of
from robuststack.leaderboard.tables import heading_of, tables, words

FORMATS = {"text": "simple", "markdown": "github", "latex": "latex_booktabs", "csv": "", "json": ""}
"""Format -> tabulate's name for it; the last two are no tables."""
SHORT = {"CA": "ca", "RA": "ra"}
ASCENDING = ("parameters", "nonzero_parameters", "macs", "latency_ms", "train_seconds_per_epoch")
"""What is better when there is less of it."""


def written(board: Mapping[str, Any], style: str) -> str:
    """The whole leaderboard in one of `FORMATS`."""
    if style == "json":
        return json.dumps(board, indent=1, sort_keys=True)
    if style == "csv":
        return _csv(board)
    found = tables(board, FORMATS[style])
    if style == "latex":
        return "\n\n".join(f"% {heading}\n{table}" for heading, table in found)
    mark = "## " if style == "markdown" else ""
    return "\n\n".join(f"{mark}{heading}\n\n{table}" for heading, table in found)


def ranked(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows of each table by a key of theirs, the best first; rows without it last. Tables keep their order.

    Raises:
        LeaderboardError: no row has such a number.
    """
    key = SHORT.get(key.upper(), key)
    if all(number(row, key) is None for row in rows):
        numbers = [one for one in rows[0] if number(rows[0], one) is not None] if rows else []
        raise LeaderboardError(f"--sort {key}: no row has such a number: {did_you_mean(key, ['CA', 'RA', *numbers])}")
    sign = 1.0 if key.startswith(ASCENDING) else -1.0
    headings = list(dict.fromkeys(map(heading_of, rows)))

    def rank(row: Row) -> tuple[int, bool, float]:
        value = number(row, key)
        return headings.index(heading_of(row)), value is None, sign * (value or 0.0)

    return sorted(rows, key=rank)


def _csv(board: Mapping[str, Any]) -> str:
    attacks = [*(one["label"] for one in board["attacks"]), "worst"]
    columns = {"CA": "ca", **{f"RA {name}": f"ra.{name}" for name in attacks}}
    header = ["dataset", "network", "norm", "eps", "defense", "point", "protocol", "split", "n", "draws"]
    header += [part for name in columns for part in (name, f"{name} low", f"{name} high")]
    header += ["parameters", "nonzero_parameters", "macs", "train_seconds_per_epoch"]
    extra = list(dict.fromkeys(name for row in board["rows"] for name in row["extra"]))
    header += extra
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in board["rows"]:
        figures = [look_up(row, key) or {} for key in columns.values()]
        writer.writerow([
            *row["variant"], row["threat"]["norm"], row["threat"]["eps"], words(row["defense"], row["shown"]),
            words("", row["point"]), row["protocol"], split_of(row), row["n"], row["draws"],
            *(one.get(part, "") for one in figures for part in ("value", "low", "high")),
            *(row[key] for key in ("parameters", "nonzero_parameters", "macs", "train_seconds_per_epoch")),
            *(row["extra"].get(name) for name in extra),
        ])  # fmt: skip
    return buffer.getvalue().rstrip("\n")
