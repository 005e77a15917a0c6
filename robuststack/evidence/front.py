"""The front of a tunable defense with its uncertainty: hypervolume, knee and dominated settings over resamples.

Points are clean and robust accuracy in percent. Images are resampled for all settings at once, since all are judged on the
same ones; what training seeds and judging draws add is drawn around each setting's mean. A knee, or a setting that is
dominated, is told with the share of the resamples that agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.readings import EXPECTED, Reading, worst_over_attacks, worst_without_each_draw
from robuststack.evidence.variance import Attacks, Estimate, Part, jackknife, mean_of_parts

RESAMPLES = 2000
SEED = 20220426


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


@dataclass(frozen=True)
class SettingLabels:
    """One operating point: labels of each training seed's model, on clean images and under attack."""

    clean: Sequence[Attacks]
    robust: Sequence[Attacks]


@dataclass(frozen=True)
class Front:
    """The settings of one tunable defense in the plane of clean and robust accuracy, in percent."""

    points: np.ndarray
    """[S, 2]."""
    hypervolume: float
    low: float
    high: float
    """The 95 % interval of the hypervolume."""
    knee: int | None
    """The position of the knee among the settings."""
    knee_share: float
    """The share of resamples with the same knee (or none, if there is none)."""
    dominated: np.ndarray
    """bool [S]."""
    dominated_share: np.ndarray
    """For each setting, the share of the resamples in which it is dominated [S]."""


def front(settings: Sequence[SettingLabels], truth: np.ndarray, reading: Reading = EXPECTED) -> Front:
    """The front of the settings and how sure it is."""
    random = np.random.default_rng(SEED)
    n = len(truth)
    weights = random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    points, resampled = np.empty((len(settings), 2)), np.empty((RESAMPLES, len(settings), 2))
    for place, setting in enumerate(settings):
        for axis, models in enumerate((setting.clean, setting.robust)):
            per_image = np.array([worst_over_attacks(reading, attacks, truth) for attacks in models])
            extra = _beyond_images(models, per_image, truth, reading)
            noise = random.standard_t(min(extra.freedom, 1e6), size=RESAMPLES) if extra.variance else 0.0
            points[place, axis] = 100 * per_image.mean()
            drawn = weights @ per_image.mean(0) + math.sqrt(extra.variance) * noise
            resampled[:, place, axis] = 100 * np.clip(drawn, 0, 1)
    low, high = np.quantile(hypervolume(resampled), [0.025, 0.975])
    bent = int(knee(points))
    return Front(
        points=points,
        hypervolume=float(hypervolume(points)),
        low=float(low),
        high=float(high),
        knee=None if bent < 0 else bent,
        knee_share=float((knee(resampled) == bent).mean()),
        dominated=dominated(points),
        dominated_share=np.asarray(dominated(resampled).mean(0)),
    )


def _beyond_images(models: Sequence[Attacks], per_image: np.ndarray, truth: np.ndarray, reading: Reading) -> Part:
    """The variance of a setting's mean that training seeds and judging draws add."""
    parts = []
    if len(models) > 1:
        seeds = per_image.mean(1)
        parts.append(Part(float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1))
    drawn = [worst_without_each_draw(reading, attacks, truth).mean(1) for attacks in models if len(attacks[0]) > 1]
    if drawn:
        parts.append(mean_of_parts([jackknife(left_out) for left_out in drawn]))
    total = Estimate(0.0, tuple(parts))
    return Part(total.variance, total.freedom)
