"""A convolution some of whose filters are random, drawn anew in each forward pass (Dong et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.adopt import adopt
from robuststack.layers.normal import standard_normal

EPSILON = 1e-5
"""Added to the standard deviation of a filter that is divided by it."""


class RandomFiltersConv2d(nn.Conv2d):
    """A convolution of `conv`'s size whose last `count` filters are random: each weight is N(0, 1 / k^2) with k the height
    of the kernel, fresh in every forward pass, one draw for the whole batch.

    The others are trained, and run divided by their own standard deviation and by k, so that both kinds have one scale.
    Their weights are the module's `weight`; the random ones are no parameters.
    """

    def __init__(self, conv: nn.Conv2d, count: int) -> None:
        if conv.groups > 1:
            raise PluginError("random projection filters need a convolution without groups")
        if conv.weight[0].numel() == 1:
            raise PluginError("random projection filters need filters of several weights: one alone has no spread")
        adopt(self, conv)
        self.count = count
        self.weight = nn.Parameter(conv.weight.detach()[: conv.out_channels - count].clone())
        self.held: Tensor | None = None
        """The random filters [count, C, k, k] in use while a draw is held, or for good."""

    def draw(self) -> Tensor:
        """Random filters."""
        like = self.weight.new_empty((self.count, *self.weight.shape[1:]))
        return standard_normal(like) / self.kernel_size[0]

    def freeze(self) -> None:
        """Keep one draw from now on."""
        self.held = self.draw()

    def trained_filters(self) -> Tensor:
        """The trained filters as they run."""
        spread = self.weight.flatten(1).std(1)[:, None, None, None] + EPSILON
        return self.weight / spread / self.kernel_size[0]

    def forward(self, x: Tensor) -> Tensor:
        drawn = self.draw() if self.held is None else self.held
        return self._conv_forward(x, torch.cat([self.trained_filters(), drawn.to(self.weight)]), self.bias)  # type: ignore[no-any-return]


@contextmanager
def one_draw(model: nn.Module) -> Iterator[None]:
    """One draw of the random filters for as long: what an attacker sees who does not know that they change."""
    layers = [module for module in model.modules() if isinstance(module, RandomFiltersConv2d)]
    before = [layer.held for layer in layers]
    try:
        for layer in layers:
            layer.freeze()
        yield
    finally:
        for layer, held in zip(layers, before, strict=True):
            layer.held = held
