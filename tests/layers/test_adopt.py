"""Layers that take the place of others keep what those do, or refuse."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.adopt import adopt
from robuststack.layers.condition import Condition
from robuststack.layers.noise import NoisyConv2d, add_noise
from robuststack.layers.slimmable import slim


class Standardised(nn.Conv2d):
    """Its weight has mean 0 in every forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class Named(nn.Conv2d):
    """A convolution under another name."""


class Adopting(Standardised):
    def __init__(self, old: nn.Module) -> None:
        adopt(self, old)


@pytest.mark.parametrize(
    ("rewriting", "layer"),
    [
        (lambda model: add_noise(model, Condition("noise")), "NoisyConv2d"),
        (lambda model: slim(model, [0.5, 1.0], Condition("width")), "SlimConv2d"),
    ],
)
def test_a_layer_with_a_forward_pass_of_its_own_is_not_replaced_by_one_without(rewriting, layer):
    with pytest.raises(PluginError) as caught:
        rewriting(nn.Sequential(Standardised(2, 2, 1)))
    assert str(caught.value) == (
        f"{layer} cannot stand for Standardised, which has a forward pass of its own; use an architecture of plain layers"
    )


def test_a_subclass_that_computes_alike_is_replaced():
    assert isinstance(add_noise(nn.Sequential(Named(2, 2, 1)), Condition("noise"))[0], NoisyConv2d)


def test_a_layer_that_inherits_the_forward_pass_takes_over_the_weights():
    old = Standardised(2, 3, 1)
    new = Adopting(old)
    assert new.weight is old.weight
    assert new.out_channels == 3
