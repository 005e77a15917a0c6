"""The front of a tunable defense: hypervolume, knee, dominated settings, and robust accuracy between two settings.

Points are clean and robust accuracy in percent, the last axis of any array.
"""

from __future__ import annotations

import numpy as np


def dominated(points: np.ndarray) -> np.ndarray:
    """Which points [..., S, 2] another is at least as good as in both accuracies and better in one: bool [..., S]."""
    own, other = points[..., :, None, :], points[..., None, :, :]
    return np.asarray(((other >= own).all(-1) & (other > own).any(-1)).any(-1))


def hypervolume(points: np.ndarray) -> np.ndarray:
    """The share of the plane, in percent [...], that points [..., S, 2] dominate: 100 for a defense that is right always,
    attacked or not (Zitzler and Thiele 1998, with the origin as the reference)."""
    order = np.argsort(-points[..., 0], axis=-1, kind="stable")
    ca, ra = (np.take_along_axis(points[..., axis], order, -1) for axis in (0, 1))
    highest = np.maximum.accumulate(ra, axis=-1)
    risen = np.diff(highest, axis=-1, prepend=0)
    return np.asarray((ca * risen).sum(-1) / 100)


def knee(points: np.ndarray) -> np.ndarray:
    """The position of the point of the front that lies farthest beyond the line between the front's ends, -1 where none
    does: points [..., S, 2] -> int [...] (Das 1999)."""
    of_front = ~dominated(points)
    ca, ra = points[..., 0], points[..., 1]
    ends = (np.where(of_front, axis, -np.inf).argmax(-1)[..., None] for axis in (ca, ra))
    (x0, y0), (x1, y1) = ([np.take_along_axis(axis, end, -1) for axis in (ca, ra)] for end in ends)
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = ((y1 - y0) * (ca - x0) - (x1 - x0) * (ra - y0)) / np.hypot(x1 - x0, y1 - y0)
    beyond = np.where(of_front & np.isfinite(beyond), beyond, -np.inf)
    # The ends themselves are at distance 0, but for rounding.
    return np.asarray(np.where(beyond.max(-1) > 1e-9, beyond.argmax(-1), -1))


def robust_at(front: np.ndarray, ca: np.ndarray) -> np.ndarray:
    """The robust accuracy [...] that a front has at a clean accuracy [...]: points [..., S, 2] of which none dominates
    another, joined by straight lines. To serve each image by one of two neighbours at random gives what lies between them.
    Below the least accurate setting it is that setting's, which is better in both; above the most accurate one, that one's.
    """
    order = np.argsort(front[..., 0], axis=-1, kind="stable")
    x, y = (np.take_along_axis(front[..., axis], order, -1) for axis in (0, 1))
    above = np.clip((x < ca[..., None]).sum(-1), 0, x.shape[-1] - 1)
    below = np.maximum(above - 1, 0)
    (x0, y0), (x1, y1) = (
        [np.take_along_axis(axis, end[..., None], -1)[..., 0] for axis in (x, y)] for end in (below, above)
    )
    span = x1 - x0
    share = np.clip(np.divide(ca - x0, span, out=np.ones_like(span), where=span > 0), 0, 1)
    return np.asarray(y0 + share * (y1 - y0))
