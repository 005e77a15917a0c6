"""A tunable defense as one entry: its settings in the plane of clean and robust accuracy, and their worth together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robuststack.leaderboard.keys import Row

Point = tuple[float, float]
"""Clean and robust accuracy in percent."""


def entries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One record for each defense of each table: how many models it takes, its front, hypervolume, knee and dominated
    settings."""
    return [entry_of(group) for group in grouped(rows)]


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each entry."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = [row["variant"], row["threat"], row["defense"], row["shown"], _apart(row)]
        groups.setdefault(json.dumps(key), []).append(row)
    return list(groups.values())


def is_tuned(row: Row) -> bool:
    """Whether the defense has a knob at deployment; PGD-AT, of which each setting is a model of its own, has none."""
    return not set(row["point"]) <= set(row["retrained"])


def _apart(row: Row) -> dict[str, Any]:
    """What makes an entry of its own: options that models were trained with, and the width, a network in a network. Where
    such options are all there is to choose, the models together are one entry."""
    keys = [*(row["retrained"] if is_tuned(row) else []), "width"]
    return {key: row["point"][key] for key in keys if key in row["point"]}


def entry_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The record of one entry, from its rows."""
    points = [(row["ca"]["value"], row["ra"]["worst"]["value"]) for row in rows]
    named = dict(zip([setting(row) for row in rows], points, strict=True))
    bent = knee(pareto(points))
    first = rows[0]
    return {
        "variant": first["variant"],
        "threat": first["threat"],
        "defense": first["defense"],
        "shown": {**first["shown"], **_apart(first)},
        "models": 1 if is_tuned(first) else len(rows),
        "settings": len(rows),
        "hypervolume": round(hypervolume(points), 2),
        "knee": next((name for name, point in named.items() if point == bent), None),
        "dominated": [name for name, point in named.items() if dominated(point, points)],
    }


def setting(row: Row) -> str:
    """An operating point within its entry, as `knee` and `dominated` name it."""
    pairs = {key: value for key, value in row["point"].items() if key not in _apart(row)}.items()
    return " ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in pairs) or "-"


def dominated(point: Point, points: Sequence[Point]) -> bool:
    """Whether another point is at least as good in both accuracies and better in one."""
    return any(other[0] >= point[0] and other[1] >= point[1] and other != point for other in points)


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, each once, from the most accurate to the most robust."""
    return sorted({one for one in points if not dominated(one, points)}, key=lambda one: -one[0])


def hypervolume(points: Sequence[Point]) -> float:
    """The share of the plane, in percent, that the points dominate: 100 for a defense that is right always, attacked or
    not (Zitzler and Thiele 1998, with the origin as the reference)."""
    area, robust = 0.0, 0.0
    for ca, ra in pareto(points):
        area += ca * (ra - robust)
        robust = ra
    return area / 100


def knee(front: Sequence[Point]) -> Point | None:
    """The point of a front that lies farthest beyond the line between its ends; None where none does (Das 1999)."""
    if len(front) < 3:
        return None
    (x0, y0), (x1, y1) = front[0], front[-1]
    length = math.hypot(x1 - x0, y1 - y0)
    beyond = {one: ((y1 - y0) * (one[0] - x0) - (x1 - x0) * (one[1] - y0)) / length for one in front[1:-1]}
    best = max(beyond, key=lambda one: beyond[one])
    return best if beyond[best] > 0 else None


def entry_cells(entry: Mapping[str, Any]) -> list[str]:
    """defense, models, settings, hypervolume, knee, dominated settings."""
    shown = " ".join([entry["defense"], *(f"{key}={value}" for key, value in entry["shown"].items())])
    return [
        ", ".join(entry["variant"]),
        shown,
        str(entry["models"]),
        str(entry["settings"]),
        f"{entry['hypervolume']:.1f}",
        entry["knee"] or "-",
        ", ".join(entry["dominated"]) or "-",
    ]
