"""Many simulated rows at once: the arithmetic of `robuststack.evidence` on whole arrays of repeats.

`test_coverage.py` compares the two, and `coverage_table.py` makes the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from robuststack.evidence.figures import FEW_SEEDS, Z
from robuststack.evidence.readings import EXPECTED, Reading
from simulation import World

Parts = list[tuple[np.ndarray, np.ndarray]]
"""(variance, degrees of freedom) of each part, [repeats] each."""


@dataclass(frozen=True)
class Case:
    """What is simulated: a method, how many images and training seeds, and which reading of it."""

    world: World
    n: int
    seeds: int
    reading: Reading = EXPECTED


@dataclass(frozen=True)
class Batch:
    """Many simulated rows, or paired differences of two, at once: the readings of each seed [R, S, n], and the parts of
    the judging draws."""

    readings: np.ndarray
    draws: Parts

    @cached_property
    def per_image(self) -> np.ndarray:
        """[R, n]"""
        return np.asarray(self.readings.mean(1))

    @cached_property
    def seeds(self) -> np.ndarray:
        """The figures of seeds [R, S]."""
        return np.asarray(self.readings.mean(2))


def rows(case: Case, images: np.ndarray, random: np.random.Generator) -> Batch:
    """One row for each repeat, on images [R, n]; what `read_row` makes of the models that `World.models` gives."""
    world, (repeats, n) = case.world, images.shape
    chance = np.repeat(images[:, None], case.seeds, axis=1)
    if world.seed_sd:
        chance = chance + random.normal(0, world.seed_sd, size=(repeats, case.seeds, 1)).astype(np.float32)
    if world.draws == 1:
        right = random.random((repeats, case.seeds, 1, n), dtype=np.float32) < chance[:, :, None]
        return read(right, EXPECTED)
    chance = np.clip(chance, 0, 1)
    own = random.beta(2 * chance + 1e-6, 2 * (1 - chance) + 1e-6).astype(np.float32)
    offsets = random.normal(0, world.draw_sd, size=(repeats, case.seeds, world.draws, 1)).astype(np.float32)
    right = random.random((repeats, case.seeds, world.draws, n), dtype=np.float32) < own[:, :, None] + offsets
    return read(right, case.reading)


def read(right: np.ndarray, reading: Reading) -> Batch:
    """Outcomes [R, S, M, n] of two classes as a batch."""
    draws, n = right.shape[2:]
    counts = right.sum(2)
    readings = table(reading, draws)[counts]
    part = None
    if draws > 1:
        # Without a draw an image has one right draw fewer if it was right in that draw.
        left = table(reading, draws - 1)
        wrong, fewer = left[np.minimum(counts, draws - 1)], left[np.maximum(counts - 1, 0)]
        figures = wrong.mean(-1)[:, :, None] - (right @ (wrong - fewer)[..., None])[..., 0] / n
        spread = ((figures - figures.mean(2, keepdims=True)) ** 2).sum(2) * (draws - 1) / draws
        part = mean_of(spread, draws - 1)
    return Batch(readings, [part] if part else [])


def paired(first: Batch, second: Batch) -> Batch:
    """The differences of two settings of the same models, seed by seed."""
    return Batch(first.readings - second.readings, [*first.draws, *second.draws])


def shared_noise(readings: np.ndarray) -> np.ndarray:
    """`variance.shared_noise` of readings [R, S, n], from sums of squares."""
    _, seeds, n = readings.shape
    left = (readings**2).mean((1, 2)) - (readings.mean(2) ** 2).mean(1) - (readings.mean(1) ** 2).mean(1)
    return np.asarray((left + readings.mean((1, 2)) ** 2) / ((seeds - 1) * (n - 1)))


def table(reading: Reading, draws: int) -> np.ndarray:
    """The reading of an image of two classes by how many of its draws are right, [draws + 1]."""
    return np.array(
        [reading.of_counts((count, (draws - count,) if count < draws else ())) for count in range(draws + 1)]
    )


def mean_of(variances: np.ndarray, freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """The variance of the mean of independent figures [R, S], and its degrees of freedom (Satterthwaite)."""
    parts = variances / variances.shape[1] ** 2
    total = parts.sum(1)
    lower = (parts**2).sum(1) / freedom
    return total, np.divide(total**2, lower, out=np.full_like(total, np.inf), where=lower > 0)


def of_mean(figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of the mean of figures or per-image readings [R, S]."""
    count = figures.shape[1]
    variance = figures.var(1, ddof=1) / count
    return variance, np.full_like(variance, count - 1)


def figure_parts(batch: Batch) -> Parts:
    """The parts of `over_seeds`, but for that of the seeds."""
    return [of_mean(batch.per_image), *batch.draws]


def difference_parts(first: Batch, second: Batch) -> Parts:
    """The parts of `difference`, seeds not paired."""
    parts = [of_mean(first.per_image - second.per_image)]
    if first.seeds.shape[1] > 1:
        parts += [of_mean(batch.seeds) for batch in (first, second)]
    return [*parts, *first.draws, *second.draws]


def half_width(parts: Parts) -> np.ndarray:
    """Half of the 95 % interval, [R]."""
    quantile, total = student(parts)
    return np.asarray(quantile * np.sqrt(total))


def student(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Student's two-sided quantile of the sum of the parts, and their variance, [R] each."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    lower = np.sum([variance**2 / freedom for variance, freedom in parts], axis=0)
    freedom = np.divide(total**2, lower, out=np.full_like(total, 1e9), where=lower > 0)
    return stdtrit(np.minimum(freedom, 1e9), 0.975), total


def half_width_over_seeds(batch: Batch) -> np.ndarray:
    """Half of the 95 % interval of `SeedsEstimate`, [R]."""
    quantile, total = student(figure_parts(batch))
    of_seeds, variance = student([of_mean(batch.seeds)])
    twice = np.minimum(shared_noise(batch.readings), of_mean(batch.per_image)[0])
    return np.sqrt(np.maximum(of_seeds**2 * variance - quantile**2 * twice, 0) + quantile**2 * total)


def limits(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The limits of `measured`, [R] each."""
    n, count = batch.per_image.shape[1], batch.seeds.shape[1]
    value = batch.seeds.mean(1)
    if count == 1:
        half = half_width(figure_parts(batch))
        low, high = value - half, value + half
    else:
        half = half_width_over_seeds(batch)
        scatter = np.maximum(value * (1 - value), 1e-9)
        low, high = wilson(value, 1 / np.maximum((half / Z) ** 2 / scatter, 1 / (n * count)))
    kept = n / (n + Z**2)
    low, high = np.minimum(low, value * kept), np.maximum(high, 1 - (1 - value) * kept)
    if 1 < count <= FEW_SEEDS:
        low, high = np.minimum(low, batch.seeds.min(1)), np.maximum(high, batch.seeds.max(1))
    score = (half == 0) | (count == 1 and not batch.draws)
    alone = wilson(np.round(value * n) / n, n)
    return np.where(score, alone[0], np.maximum(low, 0)), np.where(score, alone[1], np.minimum(high, 1))


def wilson(share: np.ndarray, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """`proportions.wilson` of many shares."""
    scale = 1 + Z**2 / n
    middle, spread = (share + Z**2 / 2 / n) / scale, Z * np.sqrt(share * (1 - share) / n + (Z / 2 / n) ** 2) / scale
    return middle - spread, middle + spread


def true_figure(case: Case) -> float:
    """The mean of the reading over images, seeds and draws."""
    world, size = case.world, 1000
    middles = (np.arange(size) + 0.5) / size
    a, b = world.accuracy * world.concentration, (1 - world.accuracy) * world.concentration
    images, shifts = betaincinv(a, b, middles), world.seed_sd * ndtri(middles)
    chance = np.clip(images[:, None] + shifts, 0, 1).ravel()
    if world.draws == 1:
        return float(chance.mean())
    random, takes = np.random.default_rng(99), case.reading.size
    own = random.beta(2 * chance + 1e-6, 2 * (1 - chance) + 1e-6)
    drawn = np.clip(own[:, None] + random.normal(0, world.draw_sd, size=(len(own), takes)), 0, 1)
    if case.reading.kind == "majority":
        return float(((random.random(drawn.shape) < drawn).sum(1) > takes / 2).mean())
    return float(drawn.prod(1).mean())
