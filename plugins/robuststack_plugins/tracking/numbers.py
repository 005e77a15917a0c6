"""What trackers write of a row."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from robuststack import Row


def row_numbers(row: Row) -> dict[str, float]:
    """The figures of a row, and what plugins added to it if that is a number."""
    numbers = {"CA": row.ca.value, **{f"RA {label}": figure.value for label, figure in row.ra.items()}}
    numbers |= {"parameters": row.parameters, "macs": row.macs}
    extra: Mapping[str, Any] = row.extra  # As plugins gave it: numbers of NumPy are `Real` too.
    return numbers | {
        name: float(cell) for name, cell in extra.items() if isinstance(cell, Real) and not isinstance(cell, bool)
    }
