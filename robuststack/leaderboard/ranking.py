"""The rows of a leaderboard, the best first."""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.keys import number, numeric_keys
from robuststack.leaderboard.row import Row

ABBREVIATIONS = {"CA": "ca", "RA": "ra"}
ASCENDING = ("parameters", "nonzero_parameters", "macs", "latency_ms", "train_seconds_per_epoch")
"""What is better when there is less of it."""


def ranked(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows of each table by a key of theirs or the label of an attack, the best first; rows without it last. Tables
    keep their order.

    Raises:
        LeaderboardError: no row has such a number.
    """
    key = ABBREVIATIONS.get(key.upper(), key)
    if any(key in row.ra for row in rows):  # An attack by its label, as columns have it.
        key = f"ra.{key}"
    if all(number(row, key) is None for row in rows):
        valid = [
            "CA",
            "RA",
            *dict.fromkeys(f"ra.{label}" for row in rows for label in row.ra),
            *(numeric_keys(rows[0]) if rows else []),
        ]
        raise LeaderboardError(f"--sort {key}: no row has such a number: {did_you_mean(key, valid)}")
    sign = 1.0 if key.startswith(ASCENDING) else -1.0
    headings = list(dict.fromkeys(row.heading for row in rows))

    def rank(row: Row) -> tuple[int, bool, float]:
        value = number(row, key)
        return headings.index(row.heading), value is None, sign * (value or 0.0)

    return sorted(rows, key=rank)
