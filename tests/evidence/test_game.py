"""The knob as a game: figures that do not flatter, and when its rounds end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from robuststack.evidence.game import HALVES, ModelGame, is_pure, settled, worth
from robuststack.evidence.mixture import hidden_value, solve
from robuststack.evidence.variance import RunReading, of_runs

PENNIES = np.array([[False, True], [True, False]])


def deterministic(outcomes: np.ndarray, clean: tuple[float, ...] = (1.0, 1.0)) -> ModelGame:
    """A game without noise, from bool [n, I, J]."""
    return game_of([outcomes[:, :, j].T[:, None] for j in range(outcomes.shape[2])], clean[: outcomes.shape[2]])


def game_of(right: Sequence[np.ndarray], clean: tuple[float, ...]) -> ModelGame:
    """A game from bool [I, M_j, n] for each setting; class 0 is the true one."""
    return ModelGame(tuple(np.where(of_setting, 0, 1) for of_setting in right), np.zeros(right[0].shape[2], int), clean)


def randomised(chance: np.ndarray, draws: int, seed: int = 0) -> ModelGame:
    """A game in which an image is right with a chance [n, I, J], on independent draws."""
    random = np.random.default_rng(seed)
    n, rows, columns = chance.shape
    right = random.random((columns, rows, draws, n)) < chance.transpose(2, 1, 0)[:, :, None]
    return game_of(list(right), (1.0,) * columns)


def test_matching_pennies_hide_half():
    figures = worth([[deterministic(np.tile(PENNIES, (40, 1, 1)))]])
    assert figures.hidden.value == pytest.approx(0.5, abs=1e-6)
    assert figures.seen.value == pytest.approx(0, abs=1e-6)
    assert figures.hiding.value == pytest.approx(0.5, abs=1e-6)
    assert figures.set_hidden.value == pytest.approx(0.5, abs=1e-6)


def test_an_attack_on_the_mixture_takes_the_hiding_away():
    game = deterministic(np.tile(PENNIES, (40, 1, 1)))
    # Images that fool both settings at once.
    both = game.with_row([np.ones((1, 40), int)] * 2)
    assert worth([[both]]).hidden.value == 0
    assert both.outcomes.shape == (40, 3, 2)


def test_a_row_that_alone_leaves_less_than_the_choice_for_each_image_is_the_choice():
    """Rows that are much alike: choosing by chance among them would leave more than the worst of them."""
    random = np.random.default_rng(1)
    chance = np.repeat(random.uniform(0.2, 0.9, (250, 1, 2)), 4, axis=1)
    chance[:, 0] -= 0.03
    for seed in range(3):
        game = randomised(chance, 20, seed)
        mixtures = game.mixtures()
        first = np.concatenate(
            [game.outcomes[half, 0] @ mixture for half, mixture in zip(HALVES, mixtures, strict=True)]
        )
        figures = worth([[game]])
        assert figures.hidden.value <= first.mean() + 1e-9
        assert figures.hidden.value <= figures.set_hidden.value + 0.01
        assert all(game.known() <= game.outcomes[:, 0].mean(0) + 1e-9)


def test_one_row_for_all_images_leaves_more_than_one_for_each():
    # The first half of the images can be fooled at the first setting only by row 0, the others only by row 1.
    outcomes = np.ones((40, 2, 1), bool)
    outcomes[:20, 0], outcomes[20:, 1] = False, False
    figures = worth([[deterministic(outcomes)]])
    assert (figures.hidden.value, figures.set_hidden.value) == (0, 0.5)


def test_a_mixture_that_fits_noise_is_not_believed():
    # All settings are alike: chosen on the same images the mixture seems to be worth more than it is on others.
    outcomes = np.random.default_rng(0).integers(0, 2, size=(60, 2, 3)).astype(bool)
    fitted = hidden_value(outcomes.astype(float), solve(outcomes.astype(float)).mixture)
    game = deterministic(outcomes, (1.0, 1.0, 1.0))
    assert worth([[game]]).hidden.value <= fitted
    first, second = game.mixtures()
    # The planted fault: each half scored on what it chose itself.
    assert game.hidden((second, first)).mean() > game.hidden((first, second)).mean()


def test_rows_that_look_worse_by_chance_take_nothing():
    # Two rows that do the same on every image: a minimum of their noisy means would be too low by points.
    chance = np.full((400, 2, 1), 0.6)
    game = randomised(chance, draws=8)
    naive = game.outcomes.min(1).mean()
    assert naive < 0.56
    assert worth([[game]]).hidden.value == pytest.approx(0.6, abs=0.03)


def test_a_clean_accuracy_binds_the_mixture():
    outcomes = np.zeros((40, 2, 2), bool)
    outcomes[:, :, 1] = True
    free = deterministic(outcomes, (0.99, 0.7))
    bound = replace(free, least_clean=0.9)
    assert free.mixture()[1] == 1
    assert bound.mixture() @ (0.99, 0.7) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="no mixture of these settings has a clean accuracy of 99"):
        worth([[replace(free, least_clean=0.995)]])


def test_models_of_several_seeds_are_pooled():
    random = np.random.default_rng(1)
    models = [deterministic(random.random((60, 2, 2)) < chance) for chance in (0.5, 0.7, 0.9)]
    pooled = worth([[model] for model in models])
    single = [worth([[model]]).hidden.value for model in models]
    assert pooled.hidden.value == pytest.approx(np.mean(single))
    assert pooled.hidden.variance > np.var(single, ddof=1) / 3
    # Attack seeds of one model are no models: beside another model, they do not narrow the interval as models would.
    nested = worth([models[:2], models[2:]])
    assert nested.hidden.parts[1].freedom == 1


def test_intervals_hold_the_true_value():
    # Each image is of one of four kinds; the value of the endless game is known from the shares of the kinds.
    kinds = np.random.default_rng(3).random((4, 2, 2)) < 0.6
    truth = solve(kinds.astype(float)).value
    hits = 0
    for repeat in range(60):
        game = deterministic(kinds[np.random.default_rng(repeat).integers(0, 4, size=200)])
        low, high = of_runs([[RunReading(game.hidden(game.mixtures()), None)]]).interval()
        hits += low <= truth <= high
    assert hits >= 0.88 * 60


def test_rounds_end_when_the_value_no_longer_falls():
    assert not settled([0.5])
    assert not settled([0.5, 0.49])
    assert settled([0.5, 0.496])
    assert settled([0.5, 0.51])


def test_a_pure_mixture_needs_no_attack_on_it():
    assert is_pure((np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    assert not is_pure((np.array([1.0, 0.0]), np.array([0.5, 0.5])))
