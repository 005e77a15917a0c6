"""Whether a model draws noise."""

from __future__ import annotations

from typing import Any

from robuststack.engine.probes.probed import Probed, difference

PASSES = 10


def look(subject: Probed) -> dict[str, Any]:
    """Passes over the same images, with torch, numpy and Python's random seeded differently: how far the logits of each are
    `apart` from those of the first, relative to the largest."""
    first = subject.logits(0)
    return {"apart": [difference(subject.logits(number), first) for number in range(1, PASSES)]}
