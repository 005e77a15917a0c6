"""Makes docs/coverage.md: how often intervals hold the true figure, and how often methods that are alike are called better
or worse, in 10,000 simulated evaluations a row.

    python tests/evidence/coverage_table.py docs/coverage.md

The arithmetic is that of `robuststack.evidence`, on whole arrays of repeats; `test_coverage.py` compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit
from tabulate import tabulate

from robuststack.evidence.figures import FEW_SEEDS, Z
from robuststack.evidence.front import hypervolume
from robuststack.evidence.game import ModelGame, worth
from robuststack.evidence.mixture import solve
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.redrawn_front import SettingReading, front_of
from robuststack.evidence.row_reading import RowReading
from simulation import World, truth

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


@dataclass(frozen=True)
class Batch:
    """Many simulated rows at once: per-image readings [R, n], figures of seeds [R, S], the draws' part, and what the
    images' part and the seeds' part both hold [R], 0 for one seed."""

    per_image: np.ndarray
    seeds: np.ndarray
    draws: tuple[np.ndarray, np.ndarray] | None
    twice: np.ndarray


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
    return Batch(readings.mean(1), readings.mean(2), part, shared_noise(readings))


def shared_noise(readings: np.ndarray) -> np.ndarray:
    """`variance.shared_noise` of readings [R, S, n], from sums of squares."""
    _, seeds, n = readings.shape
    if seeds == 1:
        return np.zeros(len(readings))
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
    parts = [of_mean(batch.per_image)]
    return parts if batch.draws is None else [*parts, batch.draws]


def difference_parts(first: Batch, second: Batch) -> Parts:
    """The parts of `difference`, seeds not paired."""
    parts = [of_mean(first.per_image - second.per_image)]
    if first.seeds.shape[1] > 1:
        parts += [of_mean(batch.seeds) for batch in (first, second)]
    return parts + [batch.draws for batch in (first, second) if batch.draws is not None]


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
    return np.sqrt(np.maximum(of_seeds**2 * variance - quantile**2 * batch.twice, 0) + quantile**2 * total)


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
    score = (half == 0) | (count == 1 and batch.draws is None)
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


def shares(case: Case, repeats: int) -> tuple[float, float]:
    """How often the interval of a figure holds the true one, and how often two methods that are alike are called better or
    worse."""
    target, random = true_figure(case), np.random.default_rng(1)
    covered = wrong = 0
    for start in range(0, repeats, CHUNK):
        size = min(CHUNK, repeats - start)
        images = case.world.images(size * case.n, random).reshape(size, case.n).astype(np.float32)
        first, second = rows(case, images, random), rows(case, images, random)
        low, high = limits(first)
        covered += int(((low <= target) & (target <= high)).sum())
        value = first.seeds.mean(1) - second.seeds.mean(1)
        wrong += int(((abs(value) >= half_width(difference_parts(first, second))) & (value != 0)).sum())
    return covered / repeats, wrong / repeats


def front_coverage(seeds: int, seed_sd: float, repeats: int) -> float:
    """How often the interval of a hypervolume holds the true one: three settings of the same models, n = 200, whose robust
    accuracy moves with the training seed."""
    random = np.random.default_rng(3)
    clean, robust = np.array([0.97, 0.9, 0.75]), np.array([0.2, 0.5, 0.6])
    target = float(hypervolume(100 * np.stack([clean, robust], -1)))
    covered = 0
    for _ in range(repeats):
        difficulty, shift = (
            random.random(200),
            random.normal(0, seed_sd, size=(seeds, 1)) if seed_sd else np.zeros((seeds, 1)),
        )

        def reading(accuracy: float, moved: np.ndarray, easy: np.ndarray) -> RowReading:
            # Half of the images are as hard for every model, the other half is drawn for each.
            own = np.where(random.random((len(moved), 200)) < 0.5, easy, random.random((len(moved), 200)))
            right = own < np.clip(accuracy + moved, 0, 1)
            return RowReading(right.mean(0), tuple(right.mean(1)))

        found = front_of(
            [
                SettingReading(reading(ca, np.zeros((seeds, 1)), difficulty), reading(ra, shift, difficulty))
                for ca, ra in zip(clean, robust, strict=True)
            ]
        )
        covered += found.low <= target <= found.high
    return covered / repeats


def game_coverage(settings: int, seeds: int, seed_sd: float, repeats: int) -> float:
    """How often the interval of a game's value holds that of all images and seeds: n = 200, a crafting setting hurts its
    own most, a seed moves all settings."""
    random = np.random.default_rng(4)
    chance = np.where(np.eye(settings, dtype=bool), 0.35, 0.75)[:, :, None]

    def outcomes(images: np.ndarray, shift: float) -> np.ndarray:
        """bool [I, J, n]"""
        return random.random((settings, settings, len(images))) < chance + 0.2 * images - 0.1 + shift

    def value(shift: float) -> float:
        return solve(outcomes(random.random(50_000), shift).transpose(2, 0, 1).astype(float)).value

    shifts = seed_sd * ndtri((np.arange(40) + 0.5) / 40) if seed_sd else np.zeros(4)
    target = np.mean([value(shift) for shift in shifts])
    covered = 0
    for _ in range(repeats):
        images, models = random.random(200), []
        for shift in random.normal(0, seed_sd, size=seeds):
            labels = np.where(outcomes(images, shift), 0, 1)
            by_setting = tuple(labels[:, [j]] for j in range(settings))
            models.append([ModelGame(by_setting, truth(200), (1.0,) * settings)])
        low, high = worth(models).hidden.interval()
        covered += low <= target <= high
    return covered / repeats


ACCURACIES = (0.05, 0.2, 0.5, 0.8, 0.95)
SEED_SD = (0.0, 0.01, 0.03, 0.06)
SEEDS = (2, 3, 5)
READINGS = (EXPECTED, Reading("majority", 5), Reading("any", 5))
COVERAGE, OTHER_COVERAGE, FALSE = 0.94, 0.93, 0.06
"""The bars: least coverage, that of hypervolume and game, most false verdicts."""
TEXT = """# How often intervals and verdicts are right

Made by `python tests/evidence/coverage_table.py docs/coverage.md`: {repeats:,} simulated evaluations a line, seeded. Each
evaluation draws images, training seeds and, at randomised points, judging draws from a method whose true figure is
known. *Coverage* is the share of 95 % intervals that hold the true figure; the aim is 94 % or more. *False* is the
share of comparisons of two methods that are alike which call one of them better or worse; the aim is 6 % or less.
What misses its aim is **bold**. The standard error of a coverage of 95 % is {error:.2f} points.

A training seed moves the chance of every image to be right by the same amount, drawn from a normal distribution;
chances below 0 and above 1 are cut off. So at 5 and 95 % a seed can hardly move the figure one way, and its figures
are skewed.

## Figures and comparisons over training seeds

200 images, deterministic. RA is the true robust accuracy, *sd* the standard deviation over training seeds, in
points.

{seeds}

1,000 images:

{images}

LESSON

## One model

One training seed: the verdict is about the two models that are there.

{one}

## Readings of randomised points

20 judging draws, which move the figure by 3 points (sd); 200 images. Three training seeds vary by 3 points.

{readings}

## Hypervolume and game value

200 images; {few:,} evaluations a line. The aim is 93 %. The front has three settings of the same models; the game
is that of deterministic models whose crafting settings hurt the same setting most.

{others}
"""


def tables(repeats: int, workers: int) -> str:
    """The whole page."""
    few = max(500, repeats // 10)
    trained = {(accuracy, sd, count): Case(World(accuracy, sd), 200, count)
               for accuracy in ACCURACIES for sd in SEED_SD for count in SEEDS}  # fmt: skip
    large = {(accuracy, sd, count): Case(World(accuracy, sd), 1000, count)
             for accuracy in ACCURACIES for sd in SEED_SD for count in SEEDS}  # fmt: skip
    alone = [Case(World(accuracy), n, 1) for accuracy in ACCURACIES for n in (200, 1000)]
    randomised = [
        Case(World(accuracy, sd, draws=20, draw_sd=0.03), 200, count, reading)
        for reading in READINGS for accuracy in (0.2, 0.8) for count, sd in ((1, 0.0), (3, 0.03))
    ]  # fmt: skip
    cases = [*trained.values(), *large.values(), *alone, *randomised]
    fronts = [(1, 0.0), (2, 0.03), (3, 0.0), (3, 0.03), (5, 0.06)]
    games = [(2, 1, 0.0), (3, 1, 0.0), (2, 2, 0.03), (2, 2, 0.06), (2, 3, 0.03), (2, 3, 0.06)]
    with ProcessPoolExecutor(workers) as pool:
        of_case = dict(zip(cases, pool.map(shares, cases, [repeats] * len(cases)), strict=True))
        volumes = list(pool.map(front_coverage, *zip(*fronts, strict=True), [few] * len(fronts)))
        values = list(pool.map(game_coverage, *zip(*games, strict=True), [few] * len(games)))

    def both(case: Case) -> list[str]:
        covered, wrong = of_case[case]
        return [share(covered, COVERAGE), share(-wrong, -FALSE)]

    def points(value: float) -> str:
        return f"{100 * value:g}"

    def over_seeds(of_images: Mapping[tuple[float, float, int], Case]) -> str:
        lines = []
        for accuracy in ACCURACIES:
            for sd in SEED_SD:
                cells = [both(of_images[accuracy, sd, count]) for count in SEEDS]
                lines.append([points(accuracy), points(sd), *(cell[0] for cell in cells), *(cell[1] for cell in cells)])
        return markdown(
            ["RA %", "sd", *(f"{what}, {count} seeds" for what in ("coverage", "false") for count in SEEDS)], lines
        )

    def of_seeds(count: int, sd: float) -> str:
        return f"{count} seeds, sd {points(sd)}" if count > 1 else "1 seed"

    others = [
        ["hypervolume", of_seeds(count, sd), share(covered, OTHER_COVERAGE)]
        for (count, sd), covered in zip(fronts, volumes, strict=True)
    ] + [
        ["game value", f"{settings} settings, {of_seeds(count, sd)}", share(covered, OTHER_COVERAGE)]
        for (settings, count, sd), covered in zip(games, values, strict=True)
    ]
    return TEXT.format(
        repeats=repeats,
        few=few,
        error=100 * (0.95 * 0.05 / repeats) ** 0.5,
        seeds=over_seeds(trained),
        images=over_seeds(large),
        one=markdown(["RA %", "images", "coverage", "false"],
                     [[points(case.world.accuracy), f"{case.n:,}", *both(case)] for case in alone]),
        readings=markdown(["reading", "RA of a draw %", "training seeds", "coverage", "false"],
                          [[str(case.reading), points(case.world.accuracy), str(case.seeds), *both(case)]
                           for case in randomised]),
        others=markdown(["figure", "of", "coverage"], others),
    )  # fmt: skip


def share(value: float, least: float) -> str:
    """In percent, bold below its bar; a share of false verdicts comes with a minus."""
    text = f"{100 * abs(value):.1f}"
    return text if value >= least else f"**{text}**"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--repeats", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    given.output.write_text(tables(given.repeats, given.workers), encoding="utf-8")


if __name__ == "__main__":
    main()
