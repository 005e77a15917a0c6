"""The model as attacks see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from robuststack.layers.condition import View
from robuststack.layers.normal import TableUse, quantile_table

ROUNDING = {"float32": 1e-4, "bf16": 2.0**-5}
"""How far a logit may be off after all layers of a network, relative to the largest logit."""


class Arithmetic(Protocol):
    """The precision that a model is attacked in: what the attacked model needs of the host's runtime."""

    precision: str
    """A key of `ROUNDING`."""

    def autocast(self) -> AbstractContextManager[object]:
        """What a forward pass runs in."""


class Float32:
    """Float32, as torch computes it."""

    precision = "float32"

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext()


class Tally:
    """What is counted of an attack's model: forward passes, noise draws from the table of normal quantiles and, of the
    images that are not fooled yet, gradients in all, those that are zero, and those that are not finite. A failing gradient
    looks like robustness."""

    def __init__(self, device: torch.device) -> None:
        self.calls = 0
        self.table = TableUse()
        self.gradients = torch.zeros(3, device=device)

    def watch(self, gradient: Tensor, counted: Tensor) -> None:
        """Count those of a batch of gradients [N, C, H, W] where `counted` [N] is true, without waiting for the device."""
        rows = gradient.flatten(1)
        zero = (counted & (rows == 0).all(1)).sum()
        broken = (counted & (~torch.isfinite(rows)).any(1)).sum()
        self.gradients += torch.stack([counted.sum(), zero, broken])


class AttackedModel(nn.Module):
    """What `Attack.perturb` receives: images float32 [N, C, H, W] in [0, 1] -> logits float32 [N, K].

    It is in eval mode with frozen parameters. Inside it computes in the job's precision. To attack a network of your own
    by hand: `AttackedModel(View(network))`, with `robuststack.layers.condition.View`.

    Attributes:
        stochastic: whether two forward passes differ. One of them proves nothing then: average over `Attack.draws`.
        final: whether the images are judged on this same model. False: another setting or another model judges them.
        settles: whether an image that the model gets wrong is won, and need not be attacked further.
        tally: where the host counts forward passes and gradients; None in training.
    """

    def __init__(
        self, view: View, runtime: Arithmetic | None = None, tally: Tally | None = None, *, final: bool = True
    ) -> None:
        super().__init__()
        self.view = view
        self.training = view.training  # Attack libraries put back what they read here.
        self.runtime: Arithmetic = runtime or Float32()
        self.tally = tally
        self.stochastic = view.stochastic
        self.final = final

    @property
    def settles(self) -> bool:
        """Whether an image that it gets wrong is won: it draws no noise, and no other view judges the image."""
        return self.final and not self.stochastic

    def forward(self, x: Tensor) -> Tensor:
        with self._counted_pass():
            return self.view(x).float()  # type: ignore[no-any-return]

    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of `forward`, and those that a loss is to be taken of: the same tensor, but for a `WithSurrogate`
        model."""
        with self._counted_pass():
            logits, climbed = self.view.surrogate(x)
        exact = logits.float()
        return exact, exact if climbed is logits else climbed.float()

    @contextmanager
    def _counted_pass(self) -> Iterator[None]:
        if self.tally is not None:
            self.tally.calls += 1
        with quantile_table(self.tally.table if self.tally else None), self.runtime.autocast():
            yield

    def passes(self, draws: int) -> list[tuple[AttackedModel, float]]:
        """The forward passes whose gradients EOT adds up, each with its weight: `draws` of this model."""
        return [(self, 1.0)] * draws

    def together(self, logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """The logits [N, K] that stand for those of several passes: the last one's, as in pyautoattack."""
        return logits[-1]

    def subset(self, index: Tensor) -> AttackedModel:
        """The same model for a batch reindexed by `index` (positions [M], or a boolean mask [N]), with the same tally.

        An attack that goes on with a part of the batch calls this one: a model may hold a value for each image.
        """
        return AttackedModel(self.view.subset(index), self.runtime, self.tally, final=self.final)

    def slack(self, logits: Tensor) -> Tensor:
        """By how much, for each sample [N], a margin may be off in this precision: a verdict closer than this is open."""
        # A masked logit is -inf in any precision.
        known = logits.nan_to_num(nan=torch.inf, posinf=0.0, neginf=0.0)
        return ROUNDING[self.runtime.precision] * known.abs().amax(1)
