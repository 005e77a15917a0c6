"""The convolutions that the search runs, as a job of the host would have them, and the same in double precision."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View
from robuststack.layers.folded_layers import FoldedConv2d
from robuststack.layers.slimmable import SlimConv2d

if TYPE_CHECKING:
    from search_convolutions import Case

RUNTIME = Runtime(Hardware("cpu", "float32"))


class FunctionalConv2d(nn.Module):
    """A convolution of a user who calls the function."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding, self.dilation, self.groups = (
            conv.stride, conv.padding, conv.dilation, conv.groups,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def convolution(case: Case, guarded: bool) -> tuple[nn.Module, nn.Module]:
    """The case's convolution, placed as the host does it or without its guard, and the same in double precision."""
    wide = 2 if case.path == "slim" else 1
    groups = wide * case.groups if case.groups > 1 else 1
    conv = nn.Conv2d(
        wide * case.inputs, wide * case.outputs, case.kernel, case.stride, case.padding, case.dilation, groups, case.bias
    )  # fmt: skip
    if case.precision == "bf16":
        conv.bfloat16().float()
    module, exact = _module(case, conv), _module(case, copy.deepcopy(conv).double())
    if guarded:
        RUNTIME.place(module)
    else:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if case.weight_layout == "default":
            for parameter in module.parameters():
                parameter.data = parameter.data.contiguous()
    if case.path == "folded":
        for layers in (module, exact):
            assert isinstance(layers, nn.Sequential)
            folded = FoldedConv2d(layers[0], layers[1])  # type: ignore[arg-type]
            folded.fold()
            # As a folded view does it for the length of a forward pass, with frozen weights.
            layers[0].__dict__["forward"], layers[1].__dict__["forward"] = folded, nn.Identity()
            layers.requires_grad_(False)
    return module, exact


def _module(case: Case, conv: nn.Conv2d) -> nn.Module:
    if case.path == "slim":
        condition = Condition("width")
        return View(SlimConv2d(conv, (0.5, 1.0), condition), {"width": 0.5}).eval()
    if case.path == "folded":
        norm = nn.BatchNorm2d(conv.out_channels, dtype=conv.weight.dtype)
        return nn.Sequential(conv, norm).eval()
    if case.path == "functional":
        return FunctionalConv2d(conv).eval()
    if case.path == "scripted":
        return torch.jit.script(nn.Sequential(conv)).eval()  # type: ignore[no-any-return]
    return conv.eval()


def images(case: Case) -> Tensor:
    """The case's images, which want a gradient."""
    x = torch.randn(case.batch, case.inputs, *case.size)
    if case.precision == "bf16":
        x = x.bfloat16().float()
    if case.layout == "last":
        x = x.contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


@torch.no_grad()
def warm(case: Case) -> None:
    """Load what torch loads with the first convolution, once for all the processes that are forked later. No gradient: the
    threads of a backward pass do not survive a fork."""
    module, exact = convolution(case, guarded=True)
    x = torch.zeros(case.batch, case.inputs, *case.size)
    with torch.autocast("cpu", torch.bfloat16):
        module(x)
    exact(x.double())
    torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 1)))
