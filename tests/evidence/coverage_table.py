"""Makes docs/coverage.md: how often intervals hold the true figure, and how often methods that are alike are called better
or worse, in 10,000 simulated evaluations a row.

    python tests/evidence/coverage_table.py docs/coverage.md

`simulated_rows.py` simulates and judges them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.special import ndtri
from simulated_rows import Case, difference_parts, half_width, half_width_over_seeds, limits, paired, rows, true_figure
from tabulate import tabulate

from robuststack.evidence.front import hypervolume
from robuststack.evidence.game import ModelGame, worth
from robuststack.evidence.mixture import solve
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.redrawn_front import SettingReading, front_of
from robuststack.evidence.row_reading import RowReading
from simulation import World, truth

CHUNK = 100


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


def settings_told_apart(case: Case, repeats: int) -> float:
    """How often two settings that are alike, of the same models, are called better or worse: each moves from seed to seed
    by itself, as seldom is so."""
    random = np.random.default_rng(2)
    wrong = 0
    for start in range(0, repeats, CHUNK):
        size = min(CHUNK, repeats - start)
        images = case.world.images(size * case.n, random).reshape(size, case.n).astype(np.float32)
        first, second = rows(case, images, random), rows(case, images, random)
        difference = paired(first, second)
        value = difference.seeds.mean(1)
        wrong += int(((abs(value) >= half_width_over_seeds(difference)) & (value != 0)).sum())
    return wrong / repeats


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
            return RowReading(right.astype(float))

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
SETTINGS = (0.05, 0.2, 0.5)
"""Of settings of the same models; above 50 % they differ as below."""
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
are skewed. *sd* is the standard deviation before that.

## Figures and comparisons over training seeds

200 images, deterministic. RA is the robust accuracy of a seed that moves nothing, *sd* the standard deviation over
training seeds, in points.

{seeds}

1,000 images:

{images}

**What to learn from it.** With 200 images intervals of a figure keep their promise, whatever their seeds do. That costs
width: few seeds cannot tell how much seeds vary, so their part has a quantile of its own
([the standard](standard.md), section 3). Beside degrees of freedom that seeds and images share, an interval at 50 % over
three seeds is 14 % wider if seeds do not vary, and 37 % if they vary by 6 points; over four seeds 1 and 15 %; over five 2 %
narrower and 8 % wider, since the noise that seeds and images both hold is counted once. Over two seeds it is more than
twice as wide. Train three seeds at least.

With 1,000 images the promise is not kept near 0 and 100 % if seeds vary by 3 points or more. There a seed moves the figure
far in one direction only: at 5 %, half of the seeds hardly move it, the other half add up to a dozen points. Of all rows of
three seeds one in eight has none of the latter. Its seeds look alike, its mean is too low, and nothing in it says so. With
200 images the images' own part is wide enough to hold the true figure all the same; more images only take that away. If a
figure is below 10 or above 90 %, look at each seed's figure, which stands beside it, and train ten seeds before you rely on
its interval: ten that vary by 6 points hold the true figure in 93 of 100 cases, by 3 points in 95.

Comparisons of two methods call equal ones better or worse in at most 6 of 100 cases. The standard error of such a share is
0.24 points: on 1,000 images two seeds that vary by 3 points reach 6.0 to 6.2 in the table, and 5.7 to 6.0 in 100,000 other
evaluations of 5, 20 and 50 %.

### Two settings of the same models

Their seeds are paired. The tables have the worst case: each setting moves from seed to seed by *sd* by itself, so that
their difference moves by 1.4 times as much. Settings of one model mostly move together. 200 images:

{settings}

1,000 images:

{settings_images}

**What to learn from it.** Settings that are alike are told apart in at most 6 of 100 cases, whatever their seeds do. Here,
too, the seeds' part has a quantile of its own. With degrees of freedom that seeds and images share, it would be up to 13 of
100 cases with two seeds, and 7 with three. What it costs, at 50 % and on 200 images: over three seeds the interval of the
difference is 27 % wider if seeds do not vary, and 25 % if they vary by 6 points; over five 9 % narrower and 3 % wider. Over
two seeds it is two to three times as wide: they leave nearly all questions undecided, and so they should. Train three seeds
at least.

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
    settings = [case for case in (*trained.values(), *large.values()) if case.world.accuracy in SETTINGS]
    with ProcessPoolExecutor(workers) as pool:
        of_case = dict(zip(cases, pool.map(shares, cases, [repeats] * len(cases)), strict=True))
        told_apart = dict(
            zip(settings, pool.map(settings_told_apart, settings, [repeats] * len(settings)), strict=True)
        )
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

    def of_settings(of_images: Mapping[tuple[float, float, int], Case]) -> str:
        lines = []
        for accuracy in SETTINGS:
            for sd in SEED_SD:
                wrong = [share(-told_apart[of_images[accuracy, sd, count]], -FALSE) for count in SEEDS]
                lines.append([points(accuracy), points(sd), *wrong])
        return markdown(["RA %", "sd", *(f"told apart, {count} seeds" for count in SEEDS)], lines)

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
        settings=of_settings(trained),
        settings_images=of_settings(large),
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
