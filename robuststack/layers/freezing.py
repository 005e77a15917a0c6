"""A randomised model turned into one draw of itself.

A layer that draws noise brings a method `freeze()`: from then on it uses one draw, the same for each image, position and
batch size. It is called on the copy that is frozen, once, while the view's values stand in the model's condition, and
draws from torch's default generator. `WeightNoise.freeze` is an example.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.errors import ModelError
from robuststack.layers.condition import View
from robuststack.layers.generators import forked

AGREEMENT = 1e-3
"""Largest difference of an image's logits in two batches, relative to the largest logit: far above rounding."""


class FrozenView(View):
    """An independent copy of a view's model whose layers were frozen: deterministic, images [N, C, H, W] -> logits [N, K].

    Whether every noise was frozen shows when the model runs: its first forward pass is checked.
    """

    def __init__(self, view: View) -> None:
        super().__init__(copy.deepcopy(view.model), view.values, stochastic=False)
        self._checked = not view.stochastic

    def forward(self, x: Tensor) -> Tensor:
        if not (self._checked or torch.compiler.is_compiling()):
            self.check(x)
        return super().forward(x)

    @torch.no_grad()
    def check(self, x: Tensor) -> None:
        """Run a few passes on `x` [N, C, H, W] and its negative, in eval mode: the same batch twice, with other random
        numbers, then a larger one, as it is and in reverse order.

        Raises:
            ModelError: they differ, so the model has noise that none of its layers can freeze, or one of them keeps a draw
                for each image, position or batch size.
        """
        alone = self._pass(x, 0)
        if not torch.equal(alone, self._pass(x, 1)):
            raise ModelError(
                "the model cannot be frozen: two passes differ after each layer's freeze(); the layer that still draws"
                " noise needs a method freeze() that keeps one draw"
            )
        try:
            several = torch.cat([x, 1 - x])
            whole, count = self._pass(several, 0), len(x)
            alike = _alike(self._pass(several.flip(0), 0).flip(0), whole) and _alike(alone, whole[:count])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # What is kept has the shape of a batch.
            alike = False
        if not alike:
            raise ModelError(
                "the model cannot be frozen: after each layer's freeze() an image's logits depend on its place in the"
                " batch; freeze() must keep one draw for every image, position and batch size"
            )
        self._checked = True

    def _pass(self, x: Tensor, seed: int) -> Tensor:
        with forked(seed), frozen_eval(self):
            return super().forward(x)


def _alike(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() <= AGREEMENT * second.abs().max())


def freeze(view: View) -> FrozenView:
    """An independent copy of the view's model with one draw of all its noise, as fast as without noise or nearly so. The
    draw comes from torch's default generator.

    A deterministic view is copied as it is.
    """
    frozen = FrozenView(view)
    if view.stochastic:
        with frozen.condition.holding(frozen.values) if frozen.condition else nullcontext():
            for module in frozen.model.modules():
                layer_freeze = getattr(module, "freeze", None)
                if callable(layer_freeze):
                    layer_freeze()
    return frozen
