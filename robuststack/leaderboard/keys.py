"""Keys of a row, as suites name them: `ca`, `ra.PGD-20`, `point.lambda_n`, `inspected.alpha`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def look_up(row: Row, key: str) -> Any:
    """What stands under a dotted key; None where the row has nothing there. `ra` alone is the worst case, and the length
    of a list stands for it."""
    found: Any = row
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    if isinstance(found, Mapping) and "worst" in found:
        found = found["worst"]
    return len(found) if isinstance(found, list) else found


def number(row: Row, key: str) -> float | None:
    """A figure's value, or any other number; None where there is none."""
    found = look_up(row, key)
    if is_figure(found):
        return float(found["value"])
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def is_figure(found: Any) -> bool:
    """Whether it is an accuracy with its interval."""
    return isinstance(found, Mapping) and {"value", "low", "high"} <= set(found)


def has(row: Row, wanted: Mapping[str, Any]) -> bool:
    """Whether a row has every value under its key."""
    return all(look_up(row, key) == value for key, value in wanted.items())
