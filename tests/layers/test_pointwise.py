"""Narrow strided 1 x 1 convolutions: their gradients are right, whatever torch makes of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.slimmable import SlimConv2d

RUNTIME = Runtime(Hardware("cpu", "float32"))


def images(size: int = 32) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(4, 3, size, size).contiguous(memory_format=torch.channels_last)


def network(channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.Conv2d(channels, 8, 1, stride=2),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    RUNTIME.place(model.eval())
    return model


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(model(x).pow(2).sum(), (x, *model.parameters())))


@pytest.mark.parametrize("channels", range(1, 10))
@pytest.mark.parametrize("size", [8, 32, 96])
def test_gradients_are_those_of_double_precision(channels: int, size: int) -> None:
    x = images(size)
    model = network(channels)[:2]
    exact = gradients(copy.deepcopy(model).double(), x.double())
    for ours, theirs in zip(gradients(model, x), exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def layout_is_kept(conv: nn.Module, x: Tensor) -> bool:
    """Whether the convolution gets the image channels-last, and computes a result that is."""
    seen: list[bool] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
        seen.extend(one.is_contiguous(memory_format=torch.channels_last) for one in (arguments[0], result))

    handle = conv.register_forward_hook(note)
    conv(x)
    handle.remove()
    assert len(set(seen)) == 1
    return seen[0]


@pytest.mark.parametrize(("channels", "kept"), [(2, False), (7, False), (8, True), (24, True)])
def test_only_narrow_ones_leave_the_layout(channels: int, kept: bool) -> None:
    model = network(channels)
    for one in (model, copy.deepcopy(model)):
        assert layout_is_kept(one[1], one[0](images())) == kept


@pytest.mark.parametrize(("width", "kept"), [(0.5, False), (1.0, True)])
def test_the_narrow_part_of_a_slim_one_leaves_it_too(width: float, kept: bool) -> None:
    condition = Condition("width")
    conv = SlimConv2d(nn.Conv2d(8, 8, 1, stride=2, bias=False), (0.5, 1.0), condition)
    RUNTIME.place(conv)
    with condition.holding({"width": width}):
        x = torch.rand(4, round(8 * width), 32, 32).contiguous(memory_format=torch.channels_last)
        assert layout_is_kept(conv, x) == kept


def test_placing_twice_adds_nothing_and_folding_goes_on() -> None:
    model = network(4)
    RUNTIME.place(model)
    assert len(model[1]._forward_pre_hooks) == 1
    x = images()
    model(x)
    for one in model.parameters():
        one.requires_grad_(False)
    plain = View(model, {})
    folded = Folding().of(plain, x)
    assert isinstance(folded, FoldedView)
    assert len(folded.layers) == 1
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-3, atol=1e-4)
