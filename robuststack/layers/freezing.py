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
        """Run two passes on `x` [N, C, H, W], in eval mode and on other random numbers each.

        Raises:
            ModelError: they differ, so the model has noise that none of its layers can freeze.
        """
        passes = []
        for seed in range(2):
            with forked(seed), frozen_eval(self):
                passes.append(super().forward(x))
        if not torch.equal(*passes):
            raise ModelError(
                "the model cannot be frozen: two passes differ after each layer's freeze(); the layer that still draws"
                " noise needs a method freeze() that keeps one draw"
            )
        self._checked = True


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
