"""Readings of a randomised point: what one query, a vote, or an attacker who may try again sees of the stored draws.

Labels are integers [M, n]: the class that each of M judging draws gave each of n images, -1 for logits that name no class.
All readings come from them; no attack and no forward pass is needed for another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from robuststack.errors import RobustStackError

Kind = Literal["expected", "majority", "any"]
Counts = tuple[int, tuple[int, ...]]
"""How often an image's draws named its true class, and how often each wrong class that they named, sorted."""


class UnknownReading(RobustStackError, ValueError):
    """A text that names no reading."""


class TooFewDraws(RobustStackError):
    """A reading of more draws than were kept."""


@dataclass(frozen=True)
class Reading:
    """A question about a randomised point.

    `expected` is the chance that one draw is right. `majority` is the chance that the true class has the plurality among
    `size` draws, taken without replacement; classes that tie share alike. `any` is the chance that all of `size` draws are
    right: what an attacker leaves who needs one success in as many tries (the unbiased estimator known as pass@k).
    """

    kind: Kind = "expected"
    size: int = field(default=1)

    def __str__(self) -> str:
        return self.kind if self.kind == "expected" else f"{self.kind} {self.size}"

    @classmethod
    def parse(cls, text: str) -> Reading:
        """`expected`, `majority 5` or `any 10`: what suites, commands and rows call a reading.

        Raises:
            UnknownReading: it is none of them.
        """
        kind, _, size = " ".join(text.split()).partition(" ")
        if kind == "expected" and not size:
            return cls()
        if kind not in ("majority", "any") or not size.isascii() or not size.isdigit() or int(size) < 1:
            raise UnknownReading(f"{text!r} is no reading; write expected, majority R or any N, such as 'majority 5'")
        return cls("majority" if kind == "majority" else "any", int(size))

    @property
    def draws_wanted(self) -> int:
        """How many judging draws would do, with room for an interval."""
        return default_draws([self])

    def check(self, draws: int) -> None:
        """Refuse a reading of more draws than there are.

        Raises:
            TooFewDraws: with the number of draws that would do.
        """
        if self.size > draws:
            wanted = f"set evaluate.draws to {self.draws_wanted}"
            raise TooFewDraws(f"{self} needs {self.size} judging draws, not {draws}; {wanted}")

    def has_interval(self, draws: int) -> bool:
        """Whether `draws` kept draws are enough for an interval: twice as many as the reading takes."""
        return self.kind == "expected" or draws >= 2 * self.size

    def of_counts(self, counts: Counts) -> float:
        """The reading of one image, 0 to 1, from the counts of its draws' classes."""
        right, wrong = counts
        if self.kind == "expected":
            return right / (right + sum(wrong))
        if self.kind == "any":
            return math.comb(right, self.size) / math.comb(right + sum(wrong), self.size)
        return plurality(right, wrong, self.size)

    def per_image(self, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The reading of each image, float [n] from 0 to 1: labels [M, n], truth [n].

        Raises:
            TooFewDraws: the reading takes more draws than there are.
        """
        self.check(len(labels))
        right = labels == truth
        if self.kind == "expected":
            return np.asarray(right.mean(0))
        if self.kind == "any":
            return self._any_of(right.sum(0), len(labels))
        distinct, place, _ = class_counts(labels, truth)
        values = np.array([self.of_counts(counts) for counts in distinct])
        return np.asarray(values[place])

    def without_each_draw(self, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The readings with each draw left out in turn, float [M, n].

        Raises:
            TooFewDraws: the reading takes all draws, so that none can be left out.
        """
        draws = len(labels)
        self.check(draws - 1)
        right = labels == truth
        if self.kind == "expected":
            return np.asarray((right.sum(0) - right) / (draws - 1))
        if self.kind == "any":
            return self._any_of(right.sum(0) - right, draws - 1)
        distinct, place, sizes = class_counts(labels, truth)
        # What is left depends on the image's counts and on how many draws named the class of the one that goes.
        table = np.zeros((len(distinct), 2, draws + 1))
        for row, (own, wrong) in enumerate(distinct):
            if own:
                table[row, 1, own] = self.of_counts((own - 1, wrong))
            for size in set(wrong):
                table[row, 0, size] = self.of_counts((own, _one_fewer(wrong, size)))
        return np.asarray(table[place[None], right.astype(int), sizes])

    def _any_of(self, right: np.ndarray, draws: int) -> np.ndarray:
        """C(right, size) / C(draws, size), elementwise."""
        table = [math.comb(count, self.size) / math.comb(draws, self.size) for count in range(draws + 1)]
        return np.asarray(np.array(table)[right])


EXPECTED = Reading()
IMAGES_AT_A_TIME = 4096


def class_counts(labels: np.ndarray, truth: np.ndarray) -> tuple[list[Counts], np.ndarray, np.ndarray]:
    """The distinct counts, which of them each image has [n], and how many draws named the class of each draw [M, n]."""
    draws, n = labels.shape
    sizes = np.empty((draws, n), dtype=np.int16)
    for start in range(0, n, IMAGES_AT_A_TIME):
        block = labels[:, start : start + IMAGES_AT_A_TIME]
        for draw in range(draws):
            sizes[draw, start : start + IMAGES_AT_A_TIME] = (block == block[draw]).sum(0, dtype=np.int16)
    # A class that s draws named stands s times in the sizes of the wrong draws: they tell the counts whole, and all that
    # are not wrong are right. Images are told apart by a sum of 64 random bits for each wrong draw's size: that two counts
    # share a sum has a chance of about 1 in 10^12.
    bits = np.random.default_rng(0).integers(1 << 63, size=draws + 1, dtype=np.uint64)
    keys = np.where(labels == truth, np.uint64(0), bits[sizes]).sum(0, dtype=np.uint64)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    right = labels[:, first] == truth[first]
    distinct = np.concatenate([right.sum(0)[None], np.sort(np.where(right, 0, sizes[:, first]), axis=0)]).T
    return [_counts(key) for key in distinct.tolist()], place.reshape(-1), sizes


def _counts(key: Sequence[int]) -> Counts:
    wrong: list[int] = []
    rest = [size for size in key[1:] if size]
    while rest:
        wrong.append(rest[0])
        rest = rest[rest[0] :]
    return key[0], tuple(wrong)


def _one_fewer(wrong: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The wrong classes' counts without one draw of a class that `size` draws named."""
    left = list(wrong)
    left.remove(size)
    return tuple(sorted([*left, size - 1])) if size > 1 else tuple(left)


@lru_cache(maxsize=1 << 16)
def plurality(right: int, wrong: tuple[int, ...], votes: int) -> float:
    """The chance that the true class has the plurality of `votes` draws taken without replacement from counts, ties shared.

    Exact: for each number of votes for the true class, a polynomial product over the wrong classes counts the ways in which
    none has more, by how many of them have as many.
    """
    total = right + sum(wrong)
    ways = 0.0
    for own in range(1, min(right, votes) + 1):
        # left[r, t]: the ways to give r votes to the wrong classes so far, t of which tie with the true one.
        left = np.zeros((votes - own + 1, len(wrong) + 1))
        left[0, 0] = 1.0
        for count in wrong:
            nxt = np.zeros_like(left)
            for take in range(min(count, own, votes - own) + 1):
                weight = float(math.comb(count, take))
                tied = int(take == own)
                nxt[take:, tied:] += weight * left[: len(left) - take, : left.shape[1] - tied]
            left = nxt
        shares = 1.0 / np.arange(1, len(wrong) + 2)
        ways += math.comb(right, own) * float(left[votes - own] @ shares)
    return ways / math.comb(total, votes)


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


def default_draws(readings: Sequence[Reading]) -> int:
    """How many judging draws a suite with these readings takes unless it says otherwise: max(20, 4 times the largest)."""
    return max([20, *(4 * reading.size for reading in readings)])
