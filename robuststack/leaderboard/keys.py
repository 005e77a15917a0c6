"""Keys of a row, as suites name them: `ca`, `ra.PGD-20`, `point.lambda_n`, `inspected.alpha`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def look_up(row: Row, key: str) -> Any:
    """What stands under a dotted key; None where the row has nothing there. `ra` alone is the worst case, and the length
    of a list stands for it."""
    found: Any = row
    rest = key
    while rest:
        # A key may hold dots itself, such as the attack `PGD-20 step=0.01`: the longest that fits.
        fitting = [one for one in found if f"{rest}.".startswith(f"{one}.")] if isinstance(found, Mapping) else []
        if not fitting:
            return None
        part = max(fitting, key=len)
        found, rest = found[part], rest[len(part) + 1 :]
    if isinstance(found, Mapping) and "worst" in found:
        found = found["worst"]
    return len(found) if isinstance(found, list) else found


def split_of(row: Row) -> str:
    """The split that a row's figures are of. Leaderboards of earlier versions, which do not say, are of the test split."""
    return str(row.get("split", "test"))


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
