"""SOLAR: OATS with an output layer for each width."""

from __future__ import annotations

from typing import ClassVar

from robuststack_plugins.defenses.oats import OnceForAllSlim


class SwitchableOutputLayer(OnceForAllSlim):
    """OATS whose sub-networks share no output layer: each width has its own. Everything else is as in OATS.

    An output layer starts as the first columns of the widest one's, so the network starts as that of OATS does. At a point
    the output layers of the other widths do not run.
    """

    paper = (
        "Tareen et al., SOLAR: Switchable Output Layer for Accuracy and Robustness in Once-for-All Training, WACV 2026,"
        " arXiv 2509.16833; code: sakt90/SOLAR"
    )
    head_for_each_width: ClassVar[bool] = True
