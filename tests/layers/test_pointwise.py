"""Narrow strided 1 x 1 convolutions leave channels-last.

That they are right then, `tests/memory/` finds out: what would crash ends a process of its own there.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.noise import add_noise
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


def layout_is_kept(conv: nn.Module, x: Tensor) -> bool:
    """Whether the convolution gets the image channels-last, and computes a result that is."""
    seen: list[bool] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
        seen.extend(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (arguments[0], result))

    handle = conv.register_forward_hook(note)
    conv(x)
    handle.remove()
    assert len(set(seen)) == 1
    return seen[0]


@pytest.mark.parametrize(
    ("channels", "kept"), [(2, False), (7, False), (8, False), (15, False), (16, True), (24, True)]
)
def test_only_narrow_ones_leave_the_layout(channels: int, kept: bool) -> None:
    model = network(channels)
    for placed in (model, copy.deepcopy(model)):
        assert layout_is_kept(placed[1], placed[0](images())) == kept


@pytest.mark.parametrize(("width", "kept"), [(0.25, False), (0.5, True), (1.0, True)])
def test_the_narrow_part_of_a_slim_one_leaves_it_too(width: float, kept: bool) -> None:
    condition = Condition("width")
    conv = SlimConv2d(nn.Conv2d(32, 8, 1, stride=2, bias=False), (0.25, 0.5, 1.0), condition)
    RUNTIME.place(conv)
    with condition.holding({"width": width}):
        x = torch.rand(4, round(32 * width), 32, 32).contiguous(memory_format=torch.channels_last)
        assert layout_is_kept(conv, x) == kept


def test_the_layout_is_left_in_bf16_and_with_noise_and_with_parametrised_weights() -> None:
    x = torch.rand(4, 12, 32, 32).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(12, 24, 1, stride=(1, 2))
    condition = Condition("noise")
    noisy = add_noise(nn.Sequential(copy.deepcopy(plain)), condition)
    parametrised = torch.nn.utils.parametrizations.weight_norm(copy.deepcopy(plain))
    for model in (plain, noisy, parametrised):
        RUNTIME.place(model)
        for precision in (torch.float32, torch.bfloat16):
            bf16 = torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16)
            with bf16, condition.holding({"noise": 1.0}):
                result = model(x)
            assert result.dtype is precision
            assert result.is_contiguous()


class Functional(nn.Module):
    """A user's module that calls the function, behind a layer in channels-last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.weight = nn.Parameter(torch.rand(24, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(self.first(x), self.weight, stride=2)


@pytest.mark.parametrize(("channels", "kept"), [(12, False), (16, True)])
def test_what_cannot_be_seen_into_leaves_it_as_a_whole(channels: int, kept: bool) -> None:
    for model in (
        Functional(channels),
        nn.Sequential(Functional(channels)),
        torch.jit.script(Functional(channels)),
        torch.jit.trace(Functional(channels), images()),
        # Here the module that holds the weight is never called.
        torch.fx.symbolic_trace(nn.Sequential(Functional(channels))),
    ):
        RUNTIME.place(model)
        assert model(images()).is_contiguous(memory_format=torch.channels_last) == kept


def test_a_frozen_program_leaves_it() -> None:
    model = torch.jit.freeze(torch.jit.script(Functional(12)).eval())
    RUNTIME.place(model)
    assert model(images()).is_contiguous()


def test_placing_twice_adds_nothing_and_folding_goes_on() -> None:
    model = network(4)
    RUNTIME.place(model)
    assert len(model[1]._forward_pre_hooks) == 1
    x = images()
    model(x)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    plain = View(model, {})
    folded = Folding().of(plain, x)
    assert isinstance(folded, FoldedView)
    assert len(folded.layers) == 1
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-3, atol=1e-4)
