"""The running average of a model's weights (`train.average`), and the batch statistics of the average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robuststack.engine.random_streams import seeded
from robuststack.layers.batch_statistics import batch_norms, estimated_statistics
from robuststack.plugin.defense import Defense
from robuststack.suite.recipe import PhaseRecipe

if TYPE_CHECKING:
    from robuststack.engine.train import Step

BATCHES = 20
"""Training batches that the batch statistics of the average are estimated on."""
WARM_UP = 10.0
"""The n-th weights count with 1 - min(decay, (1 + n) / (WARM_UP + n)): a short run does not stay at its first weights."""


@dataclass
class WeightAverage:
    """A copy of a model whose weights are the average of those that were added.

    `ema`: an exponential moving average over optimiser steps. `swa`: the plain mean over epochs (Izmailov et al. 2018).
    """

    model: nn.Module
    recipe: PhaseRecipe
    count: int = 0

    @classmethod
    def of(cls, model: nn.Module, recipe: PhaseRecipe) -> WeightAverage | None:
        """The average that a recipe asks for, before anything was added; None if it asks for none."""
        return None if recipe.average == "none" else cls(copy.deepcopy(model), recipe)

    def after_step(self, model: nn.Module) -> None:
        """Called after each step of the optimiser."""
        if self.recipe.average == "ema":
            self._add(model, min(self.recipe.average_decay, (1 + self.count) / (WARM_UP + self.count)))

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Called after each epoch (0-based)."""
        if self.recipe.average == "swa" and epoch + 1 >= self.recipe.first_averaged:
            self._add(model, self.count / (self.count + 1))

    @torch.no_grad()
    def _add(self, model: nn.Module, decay: float) -> None:
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        if self.count == 0:
            decay = 0.0
        torch._foreach_lerp_(averages, weights, 1 - decay)
        self.count += 1

    def settled(
        self,
        model: nn.Module,
        defense: Defense,
        optimizer: torch.optim.Optimizer,
        passes_of: Callable[[nn.Module], Step],
        batches: Iterable[tuple[Tensor, Tensor]],
        epoch: int,
    ) -> nn.Module:
        """The average, after an epoch (0-based), as a model of its own that can be scored.

        Batch statistics are estimated by the passes of that epoch's training steps on the first `BATCHES` batches. Other
        buffers are the trained model's. The defense does to the weights what it does after each step, such as setting those
        to zero that a mask hides.
        """
        settled = copy.deepcopy(self.model)
        with torch.no_grad():
            for average, buffer in zip(settled.buffers(), model.buffers(), strict=True):
                average.copy_(buffer)
        defense.after_step(settled, optimizer)
        settled.train()
        if any(True for _ in batch_norms(settled)):
            passes = passes_of(settled)
            with estimated_statistics(settled):
                for number, (x, y) in enumerate(islice(batches, BATCHES)):
                    passes.begin(x, y, epoch, number)
                    with seeded(passes.seed, "average", number), passes.runtime.autocast():
                        defense.training_step(passes)
        return settled
