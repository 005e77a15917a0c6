"""Makes docs/coverage.md: how often intervals hold the true figure, and how often methods that are alike are called better
or worse, in 10,000 simulated evaluations a row.

    python tests/evidence/coverage.py docs/coverage.md

The arithmetic is that of `robuststack.evidence`, on whole arrays of repeats; `test_coverage.py` compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from robuststack.evidence.readings import EXPECTED, Reading
from simulation import World

CHUNK = 100
Parts = list[tuple[np.ndarray, np.ndarray]]
"""(variance, degrees of freedom) of each part, [repeats] each."""


@dataclass(frozen=True)
class Case:
    """What is simulated: a method, how many images and training seeds, and which reading of it."""

    world: World
    n: int
    seeds: int
    reading: Reading = EXPECTED

    @property
    def cells(self) -> list[str]:
        world = self.world
        draws = f"{world.draws}, sd {100 * world.draw_sd:g}" if world.draws > 1 else "1"
        return [
            f"{100 * world.accuracy:g}",
            f"{100 * world.seed_sd:g}",
            str(self.seeds),
            str(self.n),
            draws,
            str(self.reading),
        ]


@dataclass(frozen=True)
class Batch:
    """Many simulated rows at once: per-image readings [R, n], figures of seeds [R, S], and the draws' part."""

    per_image: np.ndarray
    seeds: np.ndarray
    draws: tuple[np.ndarray, np.ndarray] | None


def rows(case: Case, images: np.ndarray, random: np.random.Generator) -> Batch:
    """One row for each repeat, on images [R, n]; what `read_row` makes of the models that `World.models` gives."""
    world, (repeats, n) = case.world, images.shape
    shift = (
        random.normal(0, world.seed_sd, size=(repeats, case.seeds, 1))
        if world.seed_sd
        else np.zeros((1, case.seeds, 1))
    )
    chance = np.clip(images[:, None] + shift, 0, 1)
    if world.draws == 1:
        right = random.random((repeats, case.seeds, 1, n), dtype=np.float32) < chance[:, :, None]
        return read(right, EXPECTED)
    own = random.beta(2 * chance + 1e-6, 2 * (1 - chance) + 1e-6)
    offsets = random.normal(0, world.draw_sd, size=(repeats, case.seeds, world.draws, 1))
    shape = (repeats, case.seeds, world.draws, n)
    right = random.random(shape, dtype=np.float32) < np.clip(own[:, :, None] + offsets, 0, 1)
    return read(right, case.reading)


def read(right: np.ndarray, reading: Reading) -> Batch:
    """Outcomes [R, S, M, n] of two classes as a batch."""
    draws = right.shape[2]
    counts = right.sum(2)
    readings = table(reading, draws)[counts]
    part = None
    if draws > 1:
        left = table(reading, draws - 1)
        # Without a draw that was right an image has one right draw fewer.
        without = np.where(
            right, left[np.maximum(counts - 1, 0)][:, :, None], left[np.minimum(counts, draws - 1)][:, :, None]
        )
        figures = without.mean(-1)
        spread = ((figures - figures.mean(2, keepdims=True)) ** 2).sum(2) * (draws - 1) / draws
        part = mean_of(spread, draws - 1)
    return Batch(readings.mean(1), readings.mean(2), part)


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
    """The parts of `over_seeds`."""
    parts = [of_mean(batch.per_image)]
    if batch.seeds.shape[1] > 1:
        parts.append(of_mean(batch.seeds))
    return parts if batch.draws is None else [*parts, batch.draws]


def difference_parts(first: Batch, second: Batch) -> Parts:
    """The parts of `difference`, seeds not paired."""
    parts = [of_mean(first.per_image - second.per_image)]
    if first.seeds.shape[1] > 1:
        parts += [of_mean(batch.seeds) for batch in (first, second)]
    return parts + [batch.draws for batch in (first, second) if batch.draws is not None]


def half_width(parts: Parts) -> np.ndarray:
    """Half of the 95 % interval, [R]."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    lower = np.sum([variance**2 / freedom for variance, freedom in parts], axis=0)
    freedom = np.divide(total**2, lower, out=np.full_like(total, 1e9), where=lower > 0)
    return np.asarray(stdtrit(np.minimum(freedom, 1e9), 0.975) * np.sqrt(total))


def true_figure(case: Case) -> float:
    """The mean of the reading over images, seeds and draws."""
    world, random = case.world, np.random.default_rng(99)
    size = 2_000_000
    chance = np.clip(world.images(size, random) + random.normal(0, world.seed_sd, size), 0, 1)
    if world.draws == 1:
        return float(chance.mean())
    own = random.beta(2 * chance + 1e-6, 2 * (1 - chance) + 1e-6)
    takes = case.reading.size
    drawn = np.clip(own[:, None] + random.normal(0, world.draw_sd, size=(size, takes)), 0, 1)
    if case.reading.kind == "majority":
        return float(((random.random((size, takes)) < drawn).sum(1) > takes / 2).mean())
    return float(drawn.prod(1).mean())


def chunks(case: Case, repeats: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Images [R, n] of each chunk of repeats."""
    for start in range(0, repeats, CHUNK):
        size = min(CHUNK, repeats - start)
        yield case.world.images(size * case.n, random).reshape(size, case.n)


def coverage(case: Case, repeats: int) -> float:
    """How often the interval of a figure holds the true one."""
    target, random = true_figure(case), np.random.default_rng(1)
    covered = 0
    for images in chunks(case, repeats, random):
        batch = rows(case, images, random)
        covered += int((abs(batch.seeds.mean(1) - target) <= half_width(figure_parts(batch))).sum())
    return covered / repeats


def false_verdicts(case: Case, repeats: int) -> float:
    """How often two methods that are alike are called better or worse."""
    random = np.random.default_rng(2)
    wrong = 0
    for images in chunks(case, repeats, random):
        first, second = rows(case, images, random), rows(case, images, random)
        value = first.seeds.mean(1) - second.seeds.mean(1)
        half = half_width(difference_parts(first, second))
        wrong += int(((abs(value) >= half) & (value != 0)).sum())
    return wrong / repeats


ACCURACIES = (0.05, 0.2, 0.5, 0.8, 0.95)
SEED_SD = (0.0, 0.01, 0.03, 0.06)
SEEDS = (2, 3, 5)
READINGS = (EXPECTED, Reading("majority", 5), Reading("any", 5))


def deterministic() -> list[Case]:
    return [Case(World(accuracy, sd), 200, seeds) for accuracy in ACCURACIES for sd in SEED_SD for seeds in SEEDS] + [
        Case(World(accuracy, sd), 1000, 3) for accuracy in ACCURACIES for sd in (0.0, 0.03)
    ]


def randomised() -> list[Case]:
    return [
        Case(World(accuracy, sd, draws=20, draw_sd=0.03), 200, seeds, reading)
        for accuracy in (0.2, 0.5, 0.8) for reading in READINGS for seeds, sd in ((1, 0.0), (3, 0.03))
    ]  # fmt: skip


def one_seed() -> list[Case]:
    return [Case(World(accuracy), n, 1) for accuracy in ACCURACIES for n in (200, 1000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--repeats", type=int, default=10_000)
    given = parser.parse_args()
    for case in [*deterministic(), *randomised(), *one_seed()]:
        print(*case.cells, coverage(case, given.repeats), false_verdicts(case, given.repeats), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
