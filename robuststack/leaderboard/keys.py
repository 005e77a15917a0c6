"""Keys of a row, as suites name them: `ca`, `ra.PGD-20`, `point.lambda_n`, `inspected.alpha`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from robuststack.leaderboard.row import WORST, ReadFigure, Row

COUNTS = ("parameters", "nonzero_parameters", "macs")
"""What is counted in a model; 0 says that nothing was seen, not that there is nothing."""


def look_up(row: Row, key: str) -> Any:
    """What stands under a dotted key; None if the row has nothing there. `ra` alone is the worst case, and the length of
    a list stands for it."""
    value: Any = row
    rest = key
    while rest:
        inner = dict(_parts(value))
        # A key may hold dots itself, such as the attack `PGD-20 step=0.01`: the longest that fits.
        fitting = [part for part in inner if f"{rest}.".startswith(f"{part}.")]
        if not fitting:
            return None
        part = max(fitting, key=len)
        value, rest = inner[part], rest[len(part) + 1 :]
    if isinstance(value, Mapping) and WORST in value:
        value = value[WORST]
    return len(value) if isinstance(value, (list, tuple)) else value


def number(row: Row, key: str) -> float | None:
    """A figure's value, or any other number; None if there is none, or nothing was counted."""
    value = look_up(row, key)
    if key in COUNTS and value == 0:
        return None
    if isinstance(value, ReadFigure):
        return value.value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def has(row: Row, wanted: Mapping[str, Any]) -> bool:
    """Whether a row has every value under its key."""
    return all(look_up(row, key) == value for key, value in wanted.items())


def numeric_keys(row: Row) -> list[str]:
    """The keys of a row, not of its parts, that stand for a number."""
    return [key for key, _ in _parts(row) if number(row, key) is not None]


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What stands in a record or a mapping, by its key as a file writes it."""
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
