"""The losses that Auto-PGD climbs in AutoAttack: what an attack of each name runs, natively and in pyautoattack."""

from __future__ import annotations

from typing import ClassVar


class OnCrossEntropy:
    """APGD-CE."""

    losses: ClassVar[tuple[str, ...]] = ("ce",)
    title: ClassVar[str] = "APGD-CE"


class OnDLR:
    """APGD-DLR: the difference of logits ratio."""

    losses: ClassVar[tuple[str, ...]] = ("dlr",)
    title: ClassVar[str] = "APGD-DLR"
    min_classes: ClassVar[int] = 3
    """The ratio's denominator has the third largest logit."""


class OnBoth:
    """AutoAttack-rand: the cross-entropy, then the ratio."""

    losses: ClassVar[tuple[str, ...]] = ("ce", "dlr")
    title: ClassVar[str] = "AutoAttack-rand"
    min_classes: ClassVar[int] = 3
