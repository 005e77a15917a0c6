"""Catastrophic overfitting: training by attacks of one step whose robustness is gone between two epochs (Wong et al. 2020).

RA under PGD falls to about 0 while FGSM, which trained the network, finds less than before: the network has learned to
answer that one step. Both are watched after each epoch on a part of the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PGD = "validation_pgd"
"""What an epoch shows: RA in percent under PGD, of the watched images of the validation split."""
FGSM = "validation_fgsm"
"""The same under FGSM from the clean image."""
LEFT = 0.25
"""The share of the best RA under PGD so far that a collapse leaves at most."""
ROBUST = 15.0
"""The best RA under PGD, in percent, that counts as robustness that can be lost: training begins with less."""
ANSWERED = 20.0
"""Points of RA by which FGSM is then above PGD at least: a network that is merely bad withstands neither."""
APART = 50.0
"""Points of RA by which FGSM is above PGD in a network that only answers FGSM, whatever came before."""


@dataclass(frozen=True)
class Overfitting:
    """The epoch, 1-based, after which it was seen first, and the RA in percent under PGD and FGSM then."""

    epoch: int
    pgd: float
    fgsm: float

    @property
    def text(self) -> str:
        """What a terminal and a row say."""
        return (
            f"catastrophic overfitting in epoch {self.epoch}: on validation images RA is {self.pgd:.1f} under PGD and"
            f" {self.fgsm:.1f} under FGSM"
        )


def catastrophic_overfitting(history: Sequence[Mapping[str, float]]) -> Overfitting | None:
    """When a training run overfitted catastrophically, by what its epochs showed; None if none of them tells so.

    An epoch tells so if the best RA under PGD before was 15 % or more, RA under PGD is at most a quarter of it, and RA
    under FGSM is no lower than it was then and 20 points above RA under PGD; or if RA under FGSM is 50 points above it.
    """
    best: Mapping[str, float] | None = None
    for number, shown in enumerate(history, 1):
        if PGD not in shown:
            continue
        pgd, fgsm = shown[PGD], shown[FGSM]
        lost = best is not None and best[PGD] >= ROBUST and pgd <= LEFT * best[PGD] and fgsm >= best[FGSM]
        if (lost and fgsm - pgd >= ANSWERED) or fgsm - pgd >= APART:
            return Overfitting(number, pgd, fgsm)
        best = shown if best is None or pgd > best[PGD] else best
    return None


def keeps_overfitted(epoch: int, phases: Sequence[tuple[int, int]]) -> bool:
    """Whether weights of a training that overfitted in an `epoch`, counted over all phases from 1, were kept: those of its
    phase are of that epoch or a later one. `phases` are the number of epochs of each, and the one that was kept of it."""
    before = 0
    for epochs, kept in phases:
        if epoch <= before + epochs:
            return before + kept >= epoch
        before += epochs
    return True
