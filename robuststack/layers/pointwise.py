"""A way around a fault of torch on processors: strided 1 x 1 convolutions of few channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NARROW = 16
"""Below so many channels of the input a convolution is at fault: the floats of a register of AVX-512, twice those of AVX2.
Every processor is kept to it, so that a network computes in the same layout on each."""


def avoid_fault(model: nn.Module) -> None:
    """Lay out the operands of strided 1 x 1 convolutions so that torch computes them right, where they are narrow.

    In channels-last the gradients of such a convolution are written past the end of memory, and can be wrong (oneDNN's
    `jit_1x1` and `brgconv_strided`, torch 2.15; `tests/memory/search_convolutions.py` shows where). A shortcut of a slim
    network can be as narrow as that. A module that calls the function with a weight of its own, and a program of
    TorchScript, cannot be seen into: a model with one that could hold such a convolution computes in the default layout
    throughout. In a traced or exported program, the module that holds a weight is not the one that is called.
    """
    modules = list(model.modules())
    opaque = [module for module in modules if not isinstance(module, nn.Conv2d) and _opaque(module)]
    for module in [model, *opaque] if opaque else []:
        _lay_out(module, all_in_order)
    for module in modules:
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and max(module.stride) > 1:
            _lay_out(module, in_order)


def _lay_out(module: nn.Module, hook: Callable[..., object]) -> None:
    """Its weights in the default layout, and the hook before it."""
    for parameter in module.parameters():  # Those of parametrisations, too.
        if parameter.dim() == 4:
            parameter.data = _in_order(parameter.data)
    if hook not in module._forward_pre_hooks.values():
        nn.Module.register_forward_pre_hook(module, hook)  # A program of TorchScript hides its own.


def in_order(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The hook: a narrow input in the default layout, any other as it is."""
    if not arguments or arguments[0].shape[1] >= NARROW:
        return None
    return (_in_order(arguments[0]), *arguments[1:])


def all_in_order(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The hook of a module that cannot be seen into: every image in the default layout."""
    return tuple(_in_order(value) if isinstance(value, Tensor) and value.dim() == 4 else value for value in arguments)


def _opaque(module: nn.Module) -> bool:
    """Whether it could call a narrow strided 1 x 1 convolution that is no module."""
    scripted = isinstance(module, torch.jit.ScriptModule)
    own = list(module.parameters(recurse=scripted))
    if scripted and not own:
        return True  # Frozen: its weights are constants.
    transposed = isinstance(module, nn.ConvTranspose2d)
    return not transposed and any(
        parameter.dim() == 4 and parameter.shape[2:] == (1, 1) and parameter.shape[1] < NARROW for parameter in own
    )


def _in_order(x: Tensor) -> Tensor:
    # Torch goes by strides, and a tensor with a dimension of 1 can be contiguous with those of either layout.
    return x.contiguous().flatten().view(x.shape)
