"""How a model is kept from convolutions that torch gets wrong on processors (`convolution_guard` says which these are)."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from robuststack.layers.convolution_guard import NARROW, ConvolutionGuard, has_one_output, in_default_layout
from robuststack.layers.program_graph import inlined_graph

GUARD = ConvolutionGuard()
CONVOLVES = re.compile(r"::\w*conv")
"""An operator of a program of TorchScript that convolves, such as `aten::_convolution`, or `prim::mkldnn_convolution` of an
optimised one."""


def avoid_faults(model: nn.Module) -> None:
    """See to it that a placed model has no convolution that torch gets wrong in float32.

    A layer that is one, such as a narrow shortcut of a slim network, gets its operands in the default layout. A program of
    TorchScript cannot be seen into: one that could hold such a convolution computes in the default layout throughout. A
    module may call the function with its own weight or with a child's, and in a traced or exported program the module that
    holds a weight is not the one that is called: a model with a weight for that is called inside of `ConvolutionGuard`.
    Other models pay nothing. Not seen are functions of TorchScript, and modules that call the function with a slice of the
    weight of a wide `nn.Conv2d`.
    """
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            if _may_conceal_one(module):
                _lay_out(module, all_in_default_layout)
        elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and max(module.stride) > 1:
            _lay_out(module, narrow_in_default_layout)
        elif isinstance(module, nn.ConvTranspose2d) and module.out_channels == module.groups:
            _lay_out(module, all_in_default_layout)
    guarded = enter_guard in model._forward_pre_hooks.values()
    if not guarded and any(_could_be_called_wrongly(module) for module in model.modules()):
        # Before the model's own hooks: if one of them fails, the guard that is left must be the one that was entered.
        nn.Module.register_forward_pre_hook(model, enter_guard, prepend=True)
        nn.Module.register_forward_hook(model, leave_guard, always_call=True)


def _lay_out(module: nn.Module, hook: Callable[..., object]) -> None:
    """Its weights in the default layout, and the hook before it."""
    for parameter in module.parameters():  # Those of parametrisations, too.
        if parameter.dim() == 4:
            parameter.data = in_default_layout(parameter.data)
    if hook not in module._forward_pre_hooks.values():
        nn.Module.register_forward_pre_hook(module, hook)  # A program of TorchScript hides its own.


def narrow_in_default_layout(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The hook: a narrow input in the default layout, any other as it is."""
    if not arguments or arguments[0].shape[-3] >= NARROW:
        return None
    return (in_default_layout(arguments[0]), *arguments[1:])


def all_in_default_layout(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The hook of a module whose convolutions may be wrong in another: every image in the default layout."""
    return tuple(
        in_default_layout(value) if isinstance(value, Tensor) and value.dim() == 4 else value for value in arguments
    )


def enter_guard(_: nn.Module, arguments: tuple[Any, ...]) -> None:
    """The hook before a model that could call the function."""
    GUARD.__enter__()


def leave_guard(_: nn.Module, arguments: tuple[Any, ...], result: object) -> None:
    """The hook behind it."""
    GUARD.__exit__(None, None, None)


def convolves_unseen(model: nn.Module) -> bool:
    """Whether the model is or holds a program of TorchScript that convolves. In bf16 more convolutions are wrong than in
    float32, by their options and the size of the image, and `ConvolutionGuard` does not see those of such a program."""
    programs = (module for module in model.modules() if isinstance(module, torch.jit.ScriptModule))
    return any(CONVOLVES.search(str(inlined_graph(program))) for program in programs if hasattr(program, "forward"))


def _may_conceal_one(program: torch.jit.ScriptModule) -> bool:
    """Whether a program may hold such a convolution. The weights of a frozen one are constants."""
    weights = [weight for weight in program.parameters() if weight.dim() == 4]
    return not list(program.parameters()) or any(
        has_one_output(weight) or (weight.shape[2:] == (1, 1) and weight.shape[1] < NARROW) for weight in weights
    )


def _could_be_called_wrongly(module: nn.Module) -> bool:
    """Whether a module's own weight could be that of such a convolution, whoever calls it."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.in_channels // module.groups < NARROW
    own = chain(module.parameters(recurse=False), module.buffers(recurse=False))
    return any(_could_be_wrong(tensor) for tensor in own if tensor.dim() == 4)


def _could_be_wrong(weight: Tensor) -> bool:
    """Whether a weight could be that of such a convolution. Of a 1 x 1 weight a narrow slice may be used."""
    # One with one output is the mean of a normalisation, or its like.
    shared_mean = len(weight) == 1 and not weight.requires_grad
    return not shared_mean and (weight.shape[2:] == (1, 1) or has_one_output(weight))
