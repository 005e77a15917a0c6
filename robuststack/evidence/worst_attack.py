"""The attack that hurts each image most, chosen without favour to the figure: cross-fitted over the judging draws.

Attacks are labels [M, n] on the same draws, as readings take them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robuststack.evidence.readings import EXPECTED, Reading


def worst_over_attacks(reading: Reading, attacks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Each image's reading under the attack that hurts it most, float [n]; attacks are labels [M, n] on the same draws.

    At a deterministic point (M = 1) the minimum. Otherwise the attack is chosen on one half of the draws and scored on the
    other, both ways, averaged: a plain minimum of noisy means is too low. If attacks are much alike, that choice is as good
    as random and lies above what one attack alone leaves; then it is that attack's reading (`deciding`). If half of the
    draws are fewer than the reading takes, it is the plain minimum all the same. Attacks that tie share alike: their order,
    which differs between a suite and a file, means nothing.

    Raises:
        TooFewDraws: the reading takes more draws than there are.
    """
    if len(attacks[0]) // 2 < reading.size:
        return np.asarray(np.min([reading.per_image(labels, truth) for labels in attacks], axis=0))
    return _decided(reading, attacks, truth)[1]


def deciding(reading: Reading, attacks: Sequence[np.ndarray], truth: np.ndarray) -> list[int]:
    """The attack that leaves less, on all images, than the cross-fitted worst of all attacks does; several if they tie, and
    none if none does."""
    return _decided(reading, attacks, truth)[0]


def _decided(reading: Reading, attacks: Sequence[np.ndarray], truth: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The attacks that decide alone, if any do, and each image's reading under the worst [n]."""
    alone = [reading.per_image(labels, truth) for labels in attacks]
    if len(attacks) == 1:
        return [0], alone[0]
    figures = [float(of_attack.mean()) for of_attack in alone]
    lowest = min(figures)
    crossed = _cross_fitted(reading, attacks, truth)
    if lowest >= float(crossed.mean()):
        return [], crossed
    tied = [place for place, figure in enumerate(figures) if figure == lowest]
    return tied, np.asarray(np.mean([alone[place] for place in tied], axis=0))


HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Every other draw."""


def _cross_fitted(reading: Reading, attacks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    even, odd = (np.array([reading.per_image(labels[half], truth) for labels in attacks]) for half in HALVES)
    return np.asarray((_chosen(even, odd) + _chosen(odd, even)) / 2)


def _chosen(choosing: np.ndarray, scoring: np.ndarray) -> np.ndarray:
    """The second [attacks, ..., n] of the attack that is lowest in the first [attacks, n], [..., n]; the mean of those that
    tie there."""
    lowest = choosing == choosing.min(0)
    shares = (lowest / lowest.sum(0)).reshape(len(lowest), *(1,) * (scoring.ndim - 2), -1)
    return np.asarray((scoring * shares).sum(0))


def worst_without_each_draw(reading: Reading, attacks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """`worst_over_attacks` with each draw left out in turn, float [M, n].

    The halves, and an attack that decides alone, stay as they are. If half of the draws less one are fewer than the reading
    takes, it is the plain minimum, which moves alike.

    Raises:
        TooFewDraws: the reading takes all draws, so that none can be left out.
    """
    if len(attacks[0]) // 2 - 1 < reading.size:
        return np.asarray(np.min([reading.without_each_draw(labels, truth) for labels in attacks], axis=0))
    alone = deciding(reading, attacks, truth)
    if alone:
        return np.asarray(np.mean([reading.without_each_draw(attacks[place], truth) for place in alone], axis=0))
    whole = [np.array([reading.per_image(labels[half], truth) for labels in attacks]) for half in HALVES]
    result = np.empty(attacks[0].shape)
    for number, half in enumerate(HALVES):
        other = whole[1 - number]
        left_out = np.array([reading.without_each_draw(labels[half], truth) for labels in attacks])
        result[half] = [
            (_chosen(left_out[:, draw], other) + _chosen(other, left_out[:, draw])) / 2
            for draw in range(left_out.shape[1])
        ]
    return result


def worst_outcomes(attacks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Whether a draw got an image right under the image's worst attack, float [M, n]: 1 or 0, or the share of the attacks
    that tie. It is `worst_over_attacks` of the expected reading, draw by draw."""
    right = np.array([labels == truth for labels in attacks])
    if right.shape[1] == 1:
        return np.asarray(right.all(0), dtype=float)
    alone = deciding(EXPECTED, attacks, truth)
    if alone:
        return np.asarray(right[alone].mean(0))
    outcomes = np.empty(right.shape[1:])
    for half, other in (HALVES, HALVES[::-1]):
        outcomes[half] = _chosen(right[:, other].mean(1), right[:, half])
    return outcomes
