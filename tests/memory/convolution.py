"""The convolutions that the search runs, as a job of the host would have them, and the same in double precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from cases import Case, Shape
from torch import Tensor, nn
from torch.nn import functional

from robuststack.engine.fitted import fit
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View
from robuststack.layers.folded_layers import FoldedConv2d
from robuststack.layers.slimmable import SlimConv2d

RUNTIMES = {name: Runtime(Hardware("cpu", name)) for name in ("float32", "bf16")}
Layer = nn.Conv2d | nn.ConvTranspose2d


class FunctionalConv2d(nn.Module):
    """A convolution of a user who calls the function, with the weight of a child of his module."""

    def __init__(self, conv: Layer) -> None:
        super().__init__()
        # A layer that would not be guarded if it were called, since it has no stride.
        shape = (conv.out_channels, conv.in_channels) if conv.transposed else (conv.in_channels, conv.out_channels)
        self.child = nn.Conv2d(*shape, conv.kernel_size, groups=conv.groups)  # type: ignore[arg-type]
        self.child.weight, self.child.bias = conv.weight, conv.bias
        self.options = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups")}
        self.function = functional.conv_transpose2d if conv.transposed else functional.conv2d

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.child.weight, self.child.bias, **self.options)  # type: ignore[no-any-return, operator]


@dataclass(frozen=True)
class Exact:
    """A convolution in double precision: its image, weight and bias, numbers that bf16 has; its result; and the gradients
    of `<cotangent, result>` for each of the three. No bias is an empty tensor."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    cotangent: Tensor
    result: Tensor
    x_gradient: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


def exact(shape: Shape) -> Exact:
    """The values that the shape's cases have to give."""
    torch.manual_seed(shape.inputs * 1000 + shape.outputs)
    conv = _layer(shape, 1).bfloat16().double()
    x = torch.randn(shape.batch, shape.inputs, *shape.size).bfloat16().double().requires_grad_()
    result = conv(x)
    cotangent = torch.randn(result.shape).bfloat16().double()
    bias = torch.empty(0) if conv.bias is None else conv.bias
    gradients = torch.autograd.grad(result, [x, *conv.parameters()], cotangent)
    no_bias = torch.empty(0)
    return Exact(
        x.detach(), conv.weight.detach(), bias.detach(), cotangent, result.detach(), *(*gradients, no_bias)[:3]
    )


def convolution(case: Case, right: Exact, guarded: bool) -> nn.Module:
    """The case's convolution, placed as the host does it or without its guard. Its parameters are the weight and the bias;
    a slim one uses the part of them that is as large as those of `right`."""
    layer = _layer(case.shape, 2 if case.path == "slim" else 1)
    rows, columns = right.weight.shape[:2]
    with torch.no_grad():
        layer.weight[:rows, :columns] = right.weight
        if layer.bias is not None:
            layer.bias[: len(right.bias)] = right.bias
    module = _module(case, layer)
    if guarded and case.path == "scripted":
        fit(module, View(module), (case.shape.inputs, *case.shape.size), RUNTIMES[case.precision])
    elif guarded:
        RUNTIMES[case.precision].place(module)
    else:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if case.weight_layout == "default":
            for parameter in module.parameters():
                parameter.data = parameter.data.contiguous()
    if case.path == "folded":
        assert isinstance(module, nn.Sequential)
        folded = FoldedConv2d(module[0], module[1])  # type: ignore[arg-type]
        folded.fold()
        # As a folded view does it for the length of a forward pass, with frozen weights.
        module[0].__dict__["forward"], module[1].__dict__["forward"] = folded, nn.Identity()
        module.requires_grad_(False)
    return module


def _layer(shape: Shape, wide: int) -> Layer:
    kind = nn.ConvTranspose2d if shape.transposed else nn.Conv2d
    return kind(
        wide * shape.inputs, wide * shape.outputs, shape.kernel, shape.stride, shape.padding, bias=shape.bias,
        groups=wide * shape.groups if shape.groups > 1 else 1, dilation=shape.dilation,  # type: ignore[arg-type]
    )  # fmt: skip


def _module(case: Case, conv: Layer) -> nn.Module:
    if case.path == "slim":
        return View(SlimConv2d(conv, (0.5, 1.0), Condition("width")), {"width": 0.5}).eval()  # type: ignore[arg-type]
    if case.path == "folded":
        return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, eps=0.0)).eval()
    if case.path == "functional":
        return FunctionalConv2d(conv).eval()
    if case.path == "scripted":
        return torch.jit.script(nn.Sequential(conv)).eval()  # type: ignore[no-any-return]
    return conv.eval()


def arithmetic(precision: str, guarded: bool) -> AbstractContextManager[object]:
    """What a forward pass of a job is in, or torch's own way to compute in this precision."""
    own = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    return RUNTIMES[precision].autocast() if guarded else own


def in_layout(x: Tensor, layout: str) -> Tensor:
    """A float32 copy in a layout, `default` or `last`."""
    return x.float().contiguous(memory_format=torch.channels_last if layout == "last" else torch.contiguous_format)


def warm(shape: Shape) -> None:
    """Load what torch loads with the first convolution and the first gradient, once for all the processes that are forked
    later. No gradient: the threads of a backward pass do not survive a fork."""
    import torch.fx.experimental.symbolic_shapes

    x = torch.zeros(shape.batch, shape.inputs, *shape.size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        _layer(shape, 1)(x)
    torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 1)))
