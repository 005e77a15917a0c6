"""A way around a fault of torch on processors: strided 1 x 1 convolutions of few channels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

FAULTY_BELOW = 8  # Channels of the input: the floats of a register of AVX2.


def avoid_fault(model: nn.Module) -> None:
    """Lay out the operands of strided 1 x 1 convolutions so that torch computes them right, where they are narrow.

    With AVX2 and channels-last, the gradient of such a convolution for an input of less than 8 channels is written past
    its end, and can be wrong (oneDNN's `brgconv_strided`, torch 2.15, seen on a processor without AVX512). A shortcut of a
    slim network can be as narrow as that.
    """
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1) and max(conv.stride) > 1:
            conv.weight.data = _in_order(conv.weight.data)
            if in_order not in conv._forward_pre_hooks.values():
                conv.register_forward_pre_hook(in_order)


def in_order(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The hook: a narrow input in the default layout, any other as it is."""
    if not arguments or arguments[0].shape[1] >= FAULTY_BELOW:
        return None
    return (_in_order(arguments[0]), *arguments[1:])


def _in_order(x: Tensor) -> Tensor:
    # Torch goes by strides, and a tensor with a dimension of 1 can be contiguous with those of either layout.
    return x.contiguous().flatten().view(x.shape)
