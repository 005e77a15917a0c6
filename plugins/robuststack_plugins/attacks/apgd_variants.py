"""The losses that Auto-PGD climbs in AutoAttack: what an attack of each name runs, natively and in pyautoattack."""

from __future__ import annotations

from typing import ClassVar

RUNS = ("iterations", "restarts")
"""Options that a label tells where they are not AutoAttack's."""


class OnCrossEntropy:
    """APGD-CE."""

    losses: ClassVar[tuple[str, ...]] = ("ce",)
    title: ClassVar[str] = "APGD-CE"
    budget: ClassVar[tuple[str, ...]] = RUNS


class OnDLR:
    """APGD-DLR: the difference of logits ratio."""

    losses: ClassVar[tuple[str, ...]] = ("dlr",)
    title: ClassVar[str] = "APGD-DLR"
    budget: ClassVar[tuple[str, ...]] = RUNS
    min_classes: ClassVar[int] = 3
    """The ratio's denominator has the third largest logit."""


class OnBoth:
    """AutoAttack-rand: the cross-entropy, then the ratio."""

    losses: ClassVar[tuple[str, ...]] = ("ce", "dlr")
    title: ClassVar[str] = "AutoAttack-rand"
    budget: ClassVar[tuple[str, ...]] = (*RUNS, "draws")
    min_classes: ClassVar[int] = 3
