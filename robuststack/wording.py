"""Numbers, options and radii as text: labels, tables, Markdown and the page write them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHORT_DECIMAL = len("0.25")


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def radius_text(value: Any) -> str:
    """A radius as people write it: `0.25`, or `8/255` for a whole number of pixel steps with a long decimal."""
    decimal = value_text(value)
    if not isinstance(value, float) or len(decimal) <= SHORT_DECIMAL:
        return decimal
    steps = value * 255
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-9 else decimal


def threat_text(norm: str, eps: float) -> str:
    """`Linf eps 8/255`."""
    return f"{norm.capitalize()} eps {radius_text(eps)}"


def value_text(value: Any) -> str:
    """A value of an option or knob, as a suite or `evaluate` understands it; only a text keeps its spaces."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def pair_text(key: str, value: Any) -> str:
    """`lambda_n=0.2`; the key `eps` is a radius."""
    return f"{key}={radius_text(value) if key == 'eps' else value_text(value)}"


def options_text(values: Mapping[str, Any]) -> str:
    """`steps=7 eps=8/255`: options, an operating point, or whatever else tells two things apart."""
    return " ".join(pair_text(key, value) for key, value in values.items())


def component_text(name: str, values: Mapping[str, Any]) -> str:
    """`oat dim=128`: a name and what tells it apart."""
    return f"{name} {options_text(values)}".strip()


def percent_text(
    value: float, low: float | None, high: float | None, lowest: float | None = None, highest: float | None = None
) -> str:
    """`98.4 [97.0, 99.2]`: percent with its 95 % interval; `98.4 [97.0, 99.2] (97.9-98.8)`: and the ends of its seeds'."""
    interval = "" if low is None else f" [{low:.1f}, {high:.1f}]"
    ends = "" if lowest is None else f" ({lowest:.1f}-{highest:.1f})"
    return f"{value:.1f}{interval}{ends}"


def points_text(value: float, low: float, high: float) -> str:
    """`+2.2 [-0.9, +5.3]`: a difference in points with its 95 % interval."""
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
