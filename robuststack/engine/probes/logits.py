"""Whether a model returns logits, as attacks need them, or probabilities."""

from __future__ import annotations

from typing import Any

import torch

from robuststack.engine.probes.probed import Probed

SUM_TOLERANCE = 1e-3
"""How far from 1 the entries of a row of probabilities may sum."""


def look(subject: Probed) -> dict[str, Any]:
    """One pass over the images: `probabilities`, the share of rows that are non-negative and sum to 1; `classes`, how many
    entries a row has; and the range of the finite entries."""
    logits = subject.logits()
    sums = (logits.sum(1) - 1).abs() <= SUM_TOLERANCE
    finite = logits[torch.isfinite(logits)]
    return {
        "probabilities": float(((logits >= 0).all(1) & sums).float().mean()),
        "classes": logits.shape[1],
        "low": float(finite.min()) if len(finite) else None,
        "high": float(finite.max()) if len(finite) else None,
    }
