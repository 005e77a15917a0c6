"""Readings of a randomised point: what one query, a vote, or an attacker who may try again sees of the stored draws.

Labels are integers [M, n]: the class that each of M judging draws gave each of n images, -1 for logits that name no class.
All readings come from them; no attack and no forward pass is needed for another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from robuststack.errors import RobustStackError

if TYPE_CHECKING:
    import numpy as np

    from robuststack.evidence.draw_counts import Counts

Kind = Literal["expected", "majority", "any"]


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
        from robuststack.evidence.draw_counts import plurality

        return plurality(right, wrong, self.size)

    def per_image(self, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The reading of each image, float [n] from 0 to 1: labels [M, n], truth [n].

        Raises:
            TooFewDraws: the reading takes more draws than there are.
        """
        import numpy as np

        from robuststack.evidence.draw_counts import class_counts

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
        import numpy as np

        from robuststack.evidence.draw_counts import class_counts, one_fewer

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
                table[row, 0, size] = self.of_counts((own, one_fewer(wrong, size)))
        return np.asarray(table[place[None], right.astype(int), sizes])

    def _any_of(self, right: np.ndarray, draws: int) -> np.ndarray:
        """C(right, size) / C(draws, size), elementwise."""
        import numpy as np

        table = [math.comb(count, self.size) / math.comb(draws, self.size) for count in range(draws + 1)]
        return np.asarray(np.array(table)[right])


EXPECTED = Reading()


def default_draws(readings: Sequence[Reading]) -> int:
    """How many judging draws a suite with these readings takes unless it says otherwise: max(20, 4 times the largest)."""
    return max([20, *(4 * reading.size for reading in readings)])
