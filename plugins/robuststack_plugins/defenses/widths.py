"""The widths of slimmable defenses: their option, their knob, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

import robuststack as rs


def _usable(widths: list[float]) -> list[float]:
    if sorted(set(widths)) != widths or not widths or widths[0] <= 0 or widths[-1] != 1:
        raise ValueError("widths must rise, be above 0 and end at 1")
    return widths


Widths = Annotated[list[float], AfterValidator(_usable)]


def widths_option() -> Any:
    return rs.option([0.5, 1.0], "Shares of each layer's channels that the network is trained to run on.", shown=True)


def width_knob() -> Any:
    return rs.option(1.0, "Share of each layer's channels that runs; one of the trained widths.", gt=0, le=1)


def check_width(point: rs.Point, widths: Sequence[float]) -> None:
    """Refuse a width without batch norms of its own.

    Raises:
        ValueError: naming the trained ones.
    """
    if point["width"] not in widths:
        trained = ", ".join(f"{width:g}" for width in widths)
        raise ValueError(f"width {point['width']:g} was not trained; trained: {trained}")


def at_each_width(points: Sequence[rs.Point], widths: Sequence[float]) -> list[rs.Point]:
    """The product of widths and points."""
    return [{**point, "width": width} for width in widths for point in points]


def work(widths: Sequence[float]) -> float:
    """Work of a pass at every width, in passes at width 1: nearly all of it goes with the square of the width."""
    return sum(width**2 for width in widths)
