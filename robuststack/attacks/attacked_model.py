"""The model as attacks see it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robuststack.engine.runtime import Runtime
from robuststack.layers.condition import View
from robuststack.layers.normal import quantile_table

ROUNDING = {"float32": 1e-4, "bf16": 2.0**-5}
"""How far a logit may be off after all layers of a network, relative to the largest logit."""


class Tally:
    """What is counted of an attack's model: forward passes and, of the images that are not fooled yet, gradients in all,
    those that are zero, and those that are not finite. A failing gradient looks like robustness."""

    def __init__(self, device: torch.device) -> None:
        self.calls = 0
        self.gradients = torch.zeros(3, device=device)

    def watch(self, gradient: Tensor, counted: Tensor) -> None:
        """Count those of a batch of gradients [N, C, H, W] where `counted` [N] is true, without waiting for the device."""
        rows = gradient.flatten(1)
        zero = (counted & (rows == 0).all(1)).sum()
        broken = (counted & (~torch.isfinite(rows)).any(1)).sum()
        self.gradients += torch.stack([counted.sum(), zero, broken])


class AttackedModel(nn.Module):
    """A view as attacks see it: the job's precision inside, float32 logits outside.

    Where it has a tally, the host's loop tells it of each gradient. `final` says that the images are judged on this view.
    """

    def __init__(self, view: nn.Module, runtime: Runtime, tally: Tally | None = None, *, final: bool = True) -> None:
        super().__init__()
        self.view = view
        self.training = view.training  # Attack libraries put back what they read here.
        self.runtime = runtime
        self.tally = tally
        self.stochastic = bool(getattr(view, "stochastic", False))
        self.final = final

    @property
    def settles(self) -> bool:
        """Whether an image that it gets wrong is won: it draws no noise, and no other view judges the image."""
        return self.final and not self.stochastic

    def forward(self, x: Tensor) -> Tensor:
        if self.tally is not None:
            self.tally.calls += 1
        with quantile_table(), self.runtime.autocast():
            return self.view(x).float()  # type: ignore[no-any-return]

    def subset(self, index: Tensor) -> AttackedModel:
        """The same model for a batch reindexed by `index` (positions [M], or a boolean mask [N]), with the same tally."""
        view = self.view.subset(index) if isinstance(self.view, View) else self.view
        return AttackedModel(view, self.runtime, self.tally, final=self.final)

    def slack(self, logits: Tensor) -> Tensor:
        """By how much, for each sample [N], a margin may be off in this precision: a verdict closer than this is open."""
        return ROUNDING[self.runtime.precision] * logits.abs().amax(1)
