"""The knob as a game: a defender who mixes settings against an attacker who sees, or does not see, which one runs.

A row of a game is a way of crafting images: an attack on one setting, or on a mixture of settings. The attacker picks a row
for each image, or one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from robuststack.evidence.estimate import Estimate
from robuststack.evidence.mixture import solve, solve_set
from robuststack.evidence.variance import RunReading, of_runs

ENOUGH = 0.005
"""Another round of attacks on the mixture follows as long as the last one lowered the value by half a point."""
MOST_ROUNDS = 3
HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Every other image, and every other draw."""


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(readings [n, I, J] to choose rows by, readings to score them on, mixture [J]) -> each image's chance to be right [n]."""
Values = Callable[[np.ndarray], np.ndarray]
"""Readings [n, I, J] -> values [n, I, K], of which an attacker picks a row for each image and each k."""
Mixtures = tuple[np.ndarray, np.ndarray]
"""The mixture q [J] that the even images are scored on, chosen on the odd ones, and the other way round."""


@dataclass(frozen=True)
class ModelGame:
    """The game of one model, from what its judge jobs keep."""

    labels: tuple[np.ndarray, ...]
    """For each setting j the labels that it predicted, integers [I, M_j, n]; M_j = 1 if it draws no noise. Settings that do
    share their number of draws, and the noise of each."""
    truth: np.ndarray
    """The right labels [n]."""
    clean: tuple[float, ...]
    """Each setting's clean accuracy, 0 to 1."""
    least_clean: float | None = None
    """What the mixture's clean accuracy must be at least."""

    @cached_property
    def right(self) -> tuple[np.ndarray, ...]:
        """For each setting whether the prediction is right, bool [I, M_j, n]."""
        return tuple(labels == self.truth for labels in self.labels)

    @cached_property
    def outcomes(self) -> np.ndarray:
        """The readings [n, I, J], over all draws."""
        return _means(self.right)

    @property
    def draws(self) -> int:
        """The judging draws of a randomised setting; 1 if there is none."""
        return max(len(right[0]) for right in self.right)

    def with_row(self, labels: Sequence[np.ndarray]) -> ModelGame:
        """The game with another way of crafting: for each setting the labels [M_j, n]."""
        both = zip(self.labels, labels, strict=True)
        return replace(self, labels=tuple(np.concatenate([before, row[None]]) for before, row in both))

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
        not see the setting. Rows are chosen on one half of the draws and scored on the other, both ways; where one row
        alone leaves less, on all images, it is that row. `without` is a draw to leave out."""
        return self._worst(self._mixed(mixtures), without)[:, 0]

    def seen(self, mixtures: Mixtures, without: int | None = None) -> np.ndarray:
        """The same if the attacker sees the setting before picking a row."""
        of_settings = self._worst(_readings, without)
        per_image = np.empty(len(of_settings))
        for half, mixture in zip(HALVES, mixtures, strict=True):
            per_image[half] = of_settings[half] @ mixture
        return per_image

    def set_hidden(self, mixtures: Mixtures, without: int | None = None) -> np.ndarray:
        """The same if the attacker picks one row for the whole data set, not knowing the setting."""

        def score(choosing: np.ndarray, scoring: np.ndarray, mixture: np.ndarray) -> np.ndarray:
            return np.asarray(scoring[:, (choosing.mean(0) @ mixture).argmin()] @ mixture)

        return self._by_halves(mixtures, score, without)

    def known(self) -> np.ndarray:
        """Each setting's accuracy [J] against an attacker who sees it and picks a row for each image."""
        return np.asarray(self._worst(_readings, None).mean(0))

    def _worst(self, values: Values, without: int | None) -> np.ndarray:
        """Each image's value under its worst row [n, K]."""
        even, odd = (values(readings) for readings in self._draw_halves(None))
        alone = (even + odd) / 2
        deciding = alone.mean(0).min(0) < _crossed(even, odd).mean(0)
        rows = alone.mean(0).argmin(0)
        # What decides stays as it is while a draw is left out.
        even, odd = (values(readings) for readings in self._draw_halves(without))
        return np.where(deciding, np.take_along_axis((even + odd) / 2, rows[None, None], 1)[:, 0], _crossed(even, odd))

    def _mixed(self, mixtures: Mixtures) -> Values:
        """What an attacker sees who does not know the setting: one value of each row."""

        def values(readings: np.ndarray) -> np.ndarray:
            mixed = np.empty((*readings.shape[:2], 1))
            for half, mixture in zip(HALVES, mixtures, strict=True):
                mixed[half, :, 0] = readings[half] @ mixture
            return mixed

        return values

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


def _readings(readings: np.ndarray) -> np.ndarray:
    """What an attacker sees who knows the setting."""
    return readings


def _crossed(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Values [n, I, K] over two halves of the draws -> those of the row that is worst in the other half [n, K]."""
    taken = (
        np.take_along_axis(scoring, _worst_rows(choosing)[:, None], 1)[:, 0]
        for choosing, scoring in ((even, odd), (odd, even))
    )
    return np.asarray(sum(taken) / 2)


def _worst_rows(readings: np.ndarray) -> np.ndarray:
    """The row that hurts each image most: readings [n, I] or [n, I, J] -> [n] or [n, J]. Of rows that hurt an image alike,
    the one that hurts all images most: readings of few draws tie often."""
    # Below what two different readings of that many draws can differ by.
    return np.asarray((readings + 1e-9 * readings.mean(0)).argmin(1))


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
    """What hiding the knob is worth, over training and attack seeds, 0 to 1."""

    hidden: Estimate
    """The mixture's accuracy if the attacker does not know which setting runs."""
    seen: Estimate
    """The same mixture's if the attacker does."""
    hiding: Estimate
    """The first minus the second."""
    set_hidden: Estimate
    """The accuracy of the best mixture against an attacker who picks one row for the whole data set."""


def worth(models: Sequence[Sequence[ModelGame]]) -> Worth:
    """The figures over training seeds, each with the games of its attack seeds, all on the same images.

    Each game's mixture is chosen on one half of the images and scored on the other, both ways. The variance is that of
    `variance.of_runs`; the mixtures are held fixed while images and draws are left out.

    Raises:
        ValueError: no mixture has the clean accuracy that is asked for.
    """
    played = [[_Played(game, game.mixtures(), game.set_mixtures()) for game in games] for games in models]

    def figure(read: Callable[[_Played, int | None], np.ndarray]) -> Estimate:
        return of_runs([[game.run(read) for game in games] for games in played])

    return Worth(
        hidden=figure(_Played.hidden),
        seen=figure(_Played.seen),
        hiding=figure(lambda game, without: game.hidden(without) - game.seen(without)),
        set_hidden=figure(_Played.set_hidden),
    )


@dataclass(frozen=True)
class _Played:
    """A game with the mixtures that its halves of the images are scored on."""

    game: ModelGame
    mixtures: Mixtures
    set_mixtures: Mixtures

    def hidden(self, without: int | None) -> np.ndarray:
        return self.game.hidden(self.mixtures, without)

    def seen(self, without: int | None) -> np.ndarray:
        return self.game.seen(self.mixtures, without)

    def set_hidden(self, without: int | None) -> np.ndarray:
        return self.game.set_hidden(self.set_mixtures, without)

    def run(self, read: Callable[[_Played, int | None], np.ndarray]) -> RunReading:
        """What a figure reads of this game: of each image, and of all of them with each draw left out."""
        draws = self.game.draws
        # A half of one draw leaves nothing if that draw is left out.
        left_out = np.array([read(self, draw).mean() for draw in range(draws)]) if draws >= 4 else None
        return RunReading(read(self, None), left_out)


def settled(values: Sequence[float]) -> bool:
    """Whether the value of a game, after each number of rounds, has stopped falling: by less than half a point."""
    return len(values) > 1 and values[-2] - values[-1] < ENOUGH


def is_pure(mixtures: Mixtures) -> bool:
    """Whether each half's mixture is a single setting: an attack on it is a row that the game has already."""
    return all(np.count_nonzero(mixture) == 1 for mixture in mixtures)
