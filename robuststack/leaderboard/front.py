"""Fronts in the plane of clean and robust accuracy: who is dominated, the hypervolume, the knee."""

from __future__ import annotations

import math
from collections.abc import Sequence

Accuracies = tuple[float, float]
"""Clean and robust accuracy in percent."""


def dominated(point: Accuracies, points: Sequence[Accuracies]) -> bool:
    """Whether another point is at least as good in both accuracies and better in one."""
    return any(other[0] >= point[0] and other[1] >= point[1] and other != point for other in points)


def pareto(points: Sequence[Accuracies]) -> list[Accuracies]:
    """The points that no other dominates, each once, from the most accurate to the most robust."""
    return sorted({point for point in points if not dominated(point, points)}, key=lambda point: -point[0])


def hypervolume(points: Sequence[Accuracies]) -> float:
    """The share of the plane, in percent, that the points dominate: 100 for a defense that is right always, attacked or
    not (Zitzler and Thiele 1998, with the origin as the reference)."""
    area, robust = 0.0, 0.0
    for ca, ra in pareto(points):
        area += ca * (ra - robust)
        robust = ra
    return area / 100


def knee(front: Sequence[Accuracies]) -> Accuracies | None:
    """The point of a front that lies farthest beyond the line between its ends; None if none does (Das 1999)."""
    if len(front) < 3:
        return None
    (x0, y0), (x1, y1) = front[0], front[-1]
    length = math.hypot(x1 - x0, y1 - y0)
    beyond = {point: ((y1 - y0) * (point[0] - x0) - (x1 - x0) * (point[1] - y0)) / length for point in front[1:-1]}
    best = max(beyond, key=lambda point: beyond[point])
    return best if beyond[best] > 0 else None
