"""The knob as a game: a defender who mixes settings against an attacker who sees, or does not see, which one runs.

A row of a game is a way of crafting images: an attack on one setting, or on a mixture of settings. The attacker picks a row
for each image, or one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from robuststack.evidence.mixture import solve, solve_set
from robuststack.evidence.variance import Estimate, of_readings

ENOUGH = 0.005
"""Another round of attacks on the mixture follows as long as the last one lowered the value by half a point."""
MOST_ROUNDS = 3
HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Every other image, and every other draw."""


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(readings [n, I, J] to choose rows by, readings to score them on, mixture [J]) -> each image's chance to be right [n]."""
Mixtures = tuple[np.ndarray, np.ndarray]
"""The mixture q [J] that the even images are scored on, chosen on the odd ones, and the other way round."""


@dataclass(frozen=True)
class ModelGame:
    """The game of one model, from what its judge jobs keep."""

    right: tuple[np.ndarray, ...]
    """For each setting j: whether the prediction is right, bool [I, M_j, n]; M_j = 1 if the setting draws no noise.
    Settings that do share their number of draws, and the noise of each."""
    clean: tuple[float, ...]
    """Each setting's clean accuracy, 0 to 1."""
    least_clean: float | None = None
    """What the mixture's clean accuracy must be at least."""

    @cached_property
    def outcomes(self) -> np.ndarray:
        """The readings [n, I, J], over all draws."""
        return _means(self.right)

    @property
    def draws(self) -> int:
        """The judging draws of a randomised setting; 1 if there is none."""
        return max(len(right[0]) for right in self.right)

    def with_rows(self, rows: Sequence[np.ndarray]) -> ModelGame:
        """The game with another way of crafting: for each setting bool [M_j, n]."""
        return replace(
            self, right=tuple(np.concatenate([old, new[None]]) for old, new in zip(self.right, rows, strict=True))
        )

    def mixture(self) -> np.ndarray:
        """The best mixture q [J], chosen on all images.

        Raises:
            ValueError: no mixture has the clean accuracy that is asked for.
        """
        return self._solve(self.outcomes)

    def mixtures(self) -> Mixtures:
        """The mixture that each half of the images is scored on, chosen on the other half.

        Raises:
            ValueError: no mixture has the clean accuracy that is asked for.
        """
        first, second = (self._solve(self.outcomes[half]) for half in HALVES)
        return second, first

    def set_mixtures(self) -> Mixtures:
        """The same against an attacker who picks one row for the whole data set.

        Raises:
            ValueError: no mixture has the clean accuracy that is asked for.
        """
        first, second = (self._solve(self.outcomes[half], whole_set=True) for half in HALVES)
        return second, first

    def _solve(self, outcomes: np.ndarray, *, whole_set: bool = False) -> np.ndarray:
        solver = solve_set if whole_set else solve
        return solver(outcomes, clean=self.clean, least_clean=self.least_clean).mixture

    def hidden(self, mixtures: Mixtures, without: int | None = None) -> np.ndarray:
        """The chance [n] that each image is right under its mixture, if the attacker picks a row for each image and does
        not see the setting. Rows are chosen on one half of the draws and scored on the other, both ways. `without` is a
        draw to leave out."""

        def score(choosing: np.ndarray, scoring: np.ndarray, mixture: np.ndarray) -> np.ndarray:
            rows = (choosing @ mixture).argmin(1)
            return np.asarray((scoring @ mixture)[np.arange(len(rows)), rows])

        return self._by_halves(mixtures, score, without)

    def seen(self, mixtures: Mixtures, without: int | None = None) -> np.ndarray:
        """The same if the attacker sees the setting before picking a row."""

        def score(choosing: np.ndarray, scoring: np.ndarray, mixture: np.ndarray) -> np.ndarray:
            rows = choosing.argmin(1)
            return np.asarray(np.take_along_axis(scoring, rows[:, None], 1)[:, 0] @ mixture)

        return self._by_halves(mixtures, score, without)

    def set_hidden(self, mixtures: Mixtures, without: int | None = None) -> np.ndarray:
        """The same if the attacker picks one row for the whole data set, not knowing the setting."""

        def score(choosing: np.ndarray, scoring: np.ndarray, mixture: np.ndarray) -> np.ndarray:
            return np.asarray(scoring[:, (choosing.mean(0) @ mixture).argmin()] @ mixture)

        return self._by_halves(mixtures, score, without)

    def known(self) -> np.ndarray:
        """Each setting's accuracy [J] against an attacker who sees it and picks a row for each image."""
        even, odd = self._draw_halves(None)
        scored = [
            np.take_along_axis(scoring, choosing.argmin(1)[:, None], 1)[:, 0].mean(0)
            for choosing, scoring in ((even, odd), (odd, even))
        ]
        return np.asarray(np.mean(scored, axis=0))

    def _draw_halves(self, without: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The readings [n, I, J] over the even draws and over the odd ones; a setting without noise is in both."""
        even, odd = (_means([_draws(right, half, without) for right in self.right]) for half in HALVES)
        return even, odd

    def _by_halves(self, mixtures: Mixtures, score: Score, without: int | None) -> np.ndarray:
        even, odd = self._draw_halves(without)
        per_image = np.empty(len(even))
        for half, mixture in zip(HALVES, mixtures, strict=True):
            both = (score(even[half], odd[half], mixture), score(odd[half], even[half], mixture))
            per_image[half] = np.mean(both, axis=0)
        return per_image


def _draws(right: np.ndarray, half: slice, without: int | None) -> np.ndarray:
    """Some of the draws of bool [I, M, n]; all of them if there is only one."""
    if right.shape[1] == 1:
        return right
    kept = np.arange(right.shape[1])[half]
    return right[:, kept[kept != without]]


def _means(right: Sequence[np.ndarray]) -> np.ndarray:
    """bool [I, M_j, n] for each setting -> readings [n, I, J]."""
    return np.stack([setting.mean(1).T for setting in right], axis=2)


@dataclass(frozen=True)
class Worth:
    """What hiding the knob is worth, over the models of all training seeds, 0 to 1."""

    hidden: Estimate
    """The mixture's accuracy if the attacker does not know which setting runs."""
    seen: Estimate
    """The same mixture's if the attacker does."""
    hiding: Estimate
    """The first minus the second."""
    set_hidden: Estimate
    """The accuracy of the best mixture against an attacker who picks one row for the whole data set."""


def worth(models: Sequence[ModelGame]) -> Worth:
    """The figures of a game: each model's mixture is chosen on one half of the images and scored on the other, both ways.

    The variance is that of `variance.over_seeds`; the mixtures are held fixed where images and draws are left out.

    Raises:
        ValueError: no mixture has the clean accuracy that is asked for.
    """
    chosen = [model.mixtures() for model in models]
    whole = [model.set_mixtures() for model in models]

    def readings(without: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for model, mixtures, set_mixtures in zip(models, chosen, whole, strict=True):
            yield (
                model.hidden(mixtures, without), model.seen(mixtures, without), model.set_hidden(set_mixtures, without)
            )  # fmt: skip

    hidden, seen, one_row = (np.array(part) for part in zip(*readings(), strict=True))
    left_out: list[np.ndarray] = []
    # A half of one draw leaves nothing if that draw is left out.
    if models[0].draws >= 4:
        by_draw = [list(readings(draw)) for draw in range(models[0].draws)]
        left_out = [
            np.array([[figure.mean() for figure in draw[model]] for draw in by_draw]) for model in range(len(models))
        ]
    return Worth(
        hidden=of_readings(list(hidden), [figures[:, 0] for figures in left_out]),
        seen=of_readings(list(seen), [figures[:, 1] for figures in left_out]),
        hiding=of_readings(list(hidden - seen), [figures[:, 0] - figures[:, 1] for figures in left_out]),
        set_hidden=of_readings(list(one_row), [figures[:, 2] for figures in left_out]),
    )


def settled(values: Sequence[float]) -> bool:
    """Whether the value of a game, after each number of rounds, has stopped falling: by less than half a point."""
    return len(values) > 1 and values[-2] - values[-1] < ENOUGH


def is_pure(mixtures: Mixtures) -> bool:
    """Whether each half's mixture is a single setting: an attack on it is a row that the game has already."""
    return all(np.count_nonzero(mixture) == 1 for mixture in mixtures)
