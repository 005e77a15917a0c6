"""The front of a tunable defense with its uncertainty, and two fronts beside each other.

The settings' clean and robust accuracies are drawn again, together: what images add has the covariance of the settings'
per-image readings, since all are judged on the same ones; what training seeds add that of the seeds' figures, since the
settings of a defense share their models; what judging draws add that of the jackknife. A knee, or a setting that is
dominated, is told with the share of the redrawn fronts that agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.evidence.front import dominated, hypervolume, knee, robust_at
from robuststack.evidence.row_reading import RowReading

REDRAWN = 2000
SEED = 20220426
LIMITS = (0.025, 0.975)


@dataclass(frozen=True)
class SettingReading:
    """One operating point: its clean and its robust accuracy, read from labels."""

    clean: RowReading
    robust: RowReading

    @property
    def point(self) -> tuple[float, float]:
        """In percent."""
        return 100 * self.clean.value, 100 * self.robust.value


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
    """The share of redrawn fronts with the same knee (or none, if there is none)."""
    dominated: np.ndarray
    """bool [S]."""
    dominated_share: np.ndarray
    """For each setting, the share of the redrawn fronts in which it is dominated [S]."""


def front_of(settings: Sequence[SettingReading]) -> Front:
    """The front of the settings and how sure it is."""
    points, (redrawn,) = redraw([settings])
    volume = float(hypervolume(points[0]))
    low, high = np.quantile(hypervolume(redrawn), LIMITS)
    bent = int(knee(points[0]))
    return Front(
        points=points[0],
        hypervolume=volume,
        low=min(float(low), volume),
        high=max(float(high), volume),
        knee=None if bent < 0 else bent,
        knee_share=float((knee(redrawn) == bent).mean()),
        dominated=dominated(points[0]),
        dominated_share=np.asarray(dominated(redrawn).mean(0)),
    )


@dataclass(frozen=True)
class Gap:
    """A difference of two defenses in points, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrontPair:
    """Two defenses with a front each: what the first has more than the second."""

    hypervolume: Gap
    at_first_ca: Gap | None
    """Robust accuracy of the first defense's setting minus what the second's front has at the same clean accuracy or more;
    None if no setting of the second is so accurate."""
    at_second_ca: Gap | None
    """What the first's front has at the clean accuracy of the second's setting or more, minus that setting's robust
    accuracy; None if no setting of the first is so accurate."""


def compare_fronts(
    first: Sequence[SettingReading], second: Sequence[SettingReading], places: tuple[int, int]
) -> FrontPair:
    """Two defenses by their whole fronts: `places` are the positions of the two settings that are compared."""
    points, redrawn = redraw([first, second])
    volume = [float(hypervolume(of_defense)) for of_defense in points]
    volumes = [hypervolume(of_defense) for of_defense in redrawn]
    own = [of_defense[place] for of_defense, place in zip(points, places, strict=True)]
    own_redrawn = [of_defense[:, place] for of_defense, place in zip(redrawn, places, strict=True)]
    fronts = [~dominated(of_defense) for of_defense in points]

    def at(setting: int, other: int) -> Gap | None:
        """Signed as first minus second."""
        line, ca = points[other][fronts[other]], own[setting][0]
        if ca > line[:, 0].max():
            return None
        sign = 1 if setting == 0 else -1
        beside = robust_at(redrawn[other][:, fronts[other]], own_redrawn[setting][:, 0])
        value = own[setting][1] - float(robust_at(line, np.asarray(ca)))
        return _gap(sign * value, sign * (own_redrawn[setting][:, 1] - beside))

    return FrontPair(_gap(volume[0] - volume[1], volumes[0] - volumes[1]), at(0, 1), at(1, 0))


def _gap(value: float, redrawn: np.ndarray) -> Gap:
    low, high = np.quantile(redrawn, LIMITS)
    return Gap(float(value), float(low), float(high))


def redraw(defenses: Sequence[Sequence[SettingReading]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The points [S, 2] of each defense, and `REDRAWN` drawings of them [R, S, 2], in percent. All are of the same images;
    training seeds and judging draws are shared by the settings of a defense, and by no two defenses."""
    random = np.random.default_rng(SEED)
    readings = [[axis for setting in settings for axis in (setting.clean, setting.robust)] for settings in defenses]
    per_image = np.array([axis.per_image for of_defense in readings for axis in of_defense])
    moved = _of_images(per_image, random)
    points, redrawn = [], []
    start = 0
    for of_defense in readings:
        means = np.array([axis.value for axis in of_defense])
        of_images = moved[:, start : start + len(means)]
        start += len(means)
        drawn = means + of_images + _of_seeds(of_defense, random) + _of_draws(of_defense, random)
        points.append(100 * means.reshape(-1, 2))
        # What is equal is equal but for rounding, which may not decide what dominates what.
        redrawn.append(np.round(100 * np.clip(drawn, 0, 1), 9).reshape(REDRAWN, -1, 2))
    return points, redrawn


def _of_images(per_image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What the choice of images moves the figures by, from their readings [k, n]: [R, k]. A figure of which all images are
    right, or all wrong, moves inwards as far as n images cannot exclude, the same for all such figures."""
    k, n = per_image.shape
    # One image has no covariance, and each figure of it is of the second kind.
    covariance = np.atleast_2d(np.cov(per_image)) / n if n > 1 else np.zeros((k, k))
    values, vectors = np.linalg.eigh(covariance)
    normal = random.standard_normal((REDRAWN, len(values)))
    moved = normal @ (vectors * np.sqrt(np.maximum(values, 0))).T
    inwards = 1 - random.random(REDRAWN) ** (1 / n)
    for place, readings in enumerate(per_image):
        if np.ptp(readings) == 0:
            moved[:, place] = inwards * np.sign(0.5 - readings[0])
    return np.asarray(moved)


def _of_seeds(readings: Sequence[RowReading], random: np.random.Generator) -> np.ndarray:
    """What training seeds move the figures by, together: Student's t in several dimensions, [R, k]."""
    seeds = np.array([axis.seeds for axis in readings]).T
    count = len(seeds)
    if count < 2:
        return np.zeros((REDRAWN, len(readings)))
    deviations = (seeds - seeds.mean(0)) / np.sqrt(count * (count - 1))
    scale = np.sqrt(random.chisquare(count - 1, size=(REDRAWN, 1)) / (count - 1))
    return np.asarray(random.standard_normal((REDRAWN, count)) @ deviations / scale)


def _of_draws(readings: Sequence[RowReading], random: np.random.Generator) -> np.ndarray:
    """What judging draws move the figures by, [R, k]: all settings of a model are judged on the same draws."""
    moved = np.zeros((REDRAWN, len(readings)))
    for model in range(max(len(axis.draws) for axis in readings)):
        for count in sorted({len(axis.draws[model]) for axis in readings if model < len(axis.draws)}):
            normal = random.standard_normal((REDRAWN, count))
            for place, axis in enumerate(readings):
                if model < len(axis.draws) and len(axis.draws[model]) == count:
                    moved[:, place] += normal @ axis.draws[model]
    return moved
