"""How many draws are enough, on attacks whose gain from more draws is known."""

from __future__ import annotations

import numpy as np
import pytest

from robuststack.evidence.draws import enough, levels


def after_attacks(accuracies: dict[int, float], n: int = 500, judged: int = 20, seed: int = 0) -> dict[int, np.ndarray]:
    """Labels [judged, n] after attacks with each number of draws, of which the given share of images stays right. An image
    that fewer draws fool, more draws fool too; the truth is 0."""
    order = np.random.default_rng(seed).permutation(n)
    return {
        draws: np.broadcast_to(np.where(order < round(accuracy * n), 0, 1), (judged, n)).copy()
        for draws, accuracy in accuracies.items()
    }


def truth(n: int = 500) -> np.ndarray:
    return np.zeros(n, dtype=int)


def test_the_numbers_are_powers_of_two_up_to_the_cap():
    assert levels() == [1, 2, 4, 8, 16, 32, 64]
    assert levels(5) == [1, 2, 4]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ({1: 0.5, 2: 0.5, 4: 0.5}, 1),
        ({1: 0.6, 2: 0.5, 4: 0.5}, None),  # Two draws are enough, but eight were not tried yet.
        ({1: 0.6, 2: 0.5, 4: 0.5, 8: 0.5}, 2),
        ({1: 0.5, 2: 0.5}, None),
        ({1: 0.5, 2: 0.498, 4: 0.48, 8: 0.48, 16: 0.48}, 4),  # A slow fall: only four times as many draws show it.
    ],
)
def test_the_first_number_that_more_draws_do_not_improve_on(accuracies, expected):
    assert enough(after_attacks(accuracies), truth()) == expected


def test_few_images_cannot_exclude_a_fall():
    assert enough(after_attacks({1: 0.5, 2: 0.5, 4: 0.5}, n=100), truth(100)) is None


def test_a_fall_that_the_noise_hides_is_not_taken_for_none():
    random = np.random.default_rng(0)
    labels = {draws: (random.random((4, 60)) < 0.5).astype(int) for draws in (1, 2, 4)}
    assert enough(labels, truth(60)) is None
