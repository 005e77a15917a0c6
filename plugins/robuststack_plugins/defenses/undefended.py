"""No defense: the reference every other row is read against."""

from __future__ import annotations

import robuststack as rs


class Undefended(rs.Defense):
    """Plain training on clean images."""

    undefended = True

    def training_step(self, step: rs.TrainStep) -> None:
        from torch.nn import functional

        logits = step.model(step.x)
        step.observe("ca", logits, step.y)
        step.backward(functional.cross_entropy(logits, step.y))
