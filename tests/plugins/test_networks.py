"""The parts of the built-in networks."""

from __future__ import annotations

import pytest
import torch

from robuststack_plugins.architectures.networks import PaddingShortcut


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 32), (5, 10), (4, 4), (3, 8)])
def test_a_padding_shortcut_puts_the_new_channels_on_both_sides(inputs, outputs, stride):
    x = torch.rand(2, inputs, 6, 4) + 1
    out = PaddingShortcut(inputs, outputs, stride)(x)
    before = (outputs - inputs) // 2
    assert out.shape == (2, outputs, 6 // stride, 4 // stride)
    assert torch.equal(out[:, before : before + inputs], x[:, :, ::stride, ::stride])
    assert (out > 0).sum() == inputs * out[:, 0].numel(), "and all others are zero"


@pytest.mark.parametrize("channels", [4, 8, 12])
def test_fewer_channels_become_fewer_in_the_same_ratio(channels):
    x = torch.rand(1, channels, 4, 4) + 1
    out = PaddingShortcut(16, 32, 2)(x)
    assert out.shape == (1, 2 * channels, 2, 2)
    assert torch.equal(out[:, channels // 2 : channels // 2 + channels], x[:, :, ::2, ::2])
