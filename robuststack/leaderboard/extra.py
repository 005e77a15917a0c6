"""Columns that plugins add to rows."""

from __future__ import annotations

import math
from collections.abc import Iterable

from robuststack.errors import PluginError
from robuststack.leaderboard.row import Row


def check_extra(rows: Iterable[Row]) -> None:
    """Refuse what fits no cell of a table or no JSON file. Numbers of NumPy and torch become Python's.

    Raises:
        PluginError: with the row and the column.
    """
    for row in rows:
        for name, value in row.extra.items():
            if getattr(value, "shape", None) == ():
                value = row.extra[name] = value.item()  # type: ignore[union-attr]
            finite = not isinstance(value, float) or math.isfinite(value)
            if not (isinstance(name, str) and (value is None or isinstance(value, (str, int, float))) and finite):
                given = f"{value!r}" if isinstance(value, float) else f"a {type(value).__name__}"
                raise PluginError(
                    f"a plugin's column {name!r} is {given} in the row {row.label}; valid: a number, a text or None"
                )
