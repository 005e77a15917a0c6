"""A way around convolutions that torch gets wrong on processors, for as long as it is entered.

These kinds are at fault with oneDNN, as torch 2.15 uses it (`tests/memory/search_convolutions.py` shows where):

- Strided 1 x 1 convolutions of few input channels: in channels-last their gradients are written past the end of memory, and
  values can be wrong. Transposed convolutions with one output channel: in channels-last a gradient can be memory that was
  never written. Both are so in float32 and bf16, and get their operands in torch's default layout.
- In bf16, convolutions that are transposed or dilated (1 x 1 ones too), those with an even kernel, and strided ones but for
  the most usual (`is_right_in_bf16`). With AMX their values can be wrong; their values or gradients can be memory that was
  never written; or they end the process. They are computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NARROW = 16
"""Below so many channels of the input a strided 1 x 1 convolution is at fault: the floats of a register of AVX-512, twice
those of AVX2. Every processor is kept to it, so that a network computes in the same layout on each."""

_aten = torch.ops.aten
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_EITHER = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
# Exported programs call the operators by their overloads, anybody else by the functions.
ARGUMENTS: Mapping[Callable[..., Any], Sequence[str]] = {
    **dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d), _CONVOLUTION),
    **{
        overload: _CONVOLUTION
        for operator in (_aten.conv1d, _aten.conv2d, _aten.conv3d)
        for overload in (operator, operator.default, operator.padding)
    },
    **dict.fromkeys(
        (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d), _TRANSPOSED
    ),
    **dict.fromkeys((_aten.conv_transpose1d, _aten.conv_transpose1d.default), _TRANSPOSED),
    **dict.fromkeys((_aten.conv_transpose2d, _aten.conv_transpose2d.input), _TRANSPOSED),
    **dict.fromkeys((_aten.conv_transpose3d, _aten.conv_transpose3d.input), _TRANSPOSED),
    **dict.fromkeys((torch.convolution, _aten.convolution, _aten.convolution.default), _EITHER),
}
"""The functions that convolve, and the names of their arguments in order."""


class ConvolutionGuard(TorchFunctionMode):
    """While it is entered, convolutions that Python calls on a processor are those that torch gets right.

    It sees modules, functions whoever holds the weight, and traced and exported programs; not what runs inside of a program
    of TorchScript.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        names = ARGUMENTS.get(func)
        if names is None:
            return func(*args, **(kwargs or {}))
        call = dict(zip(names, args, strict=False)) | dict(kwargs or {})
        # Compiled code knows tuples by what they hold, and not which of two alike it is.
        return _convolved(func, call, transposed=call.get("transposed", "output_padding" in names))


def _convolved(func: Callable[..., Any], call: dict[str, Any], transposed: bool) -> Any:
    """The convolution of a call, computed in a way that torch gets right."""
    x, weight, stride = call["input"], call["weight"], call.get("stride", 1)
    if x.device.type != "cpu":
        return func(**call)
    kernel = weight.shape[2:]
    if has_one_output(weight) if transposed else is_narrow_pointwise(kernel, stride, x):
        call |= {"input": in_default_layout(x), "weight": in_default_layout(weight)}
    low = _lowered_to(weight)
    plain = not transposed and largest(call.get("dilation", 1)) == 1
    if low is None or (plain and is_right_in_bf16(x.shape[-len(kernel) :], kernel, stride, call.get("padding", 0))):
        return func(**call)
    in_float32 = {name: value.float() if isinstance(value, Tensor) else value for name, value in call.items()}
    with torch.autocast("cpu", enabled=False):
        return func(**in_float32).to(low)


def is_right_in_bf16(
    size: Sequence[int], kernel: Sequence[int], stride: int | Sequence[int], padding: int | Sequence[int] | str
) -> bool:
    """Whether torch computes a convolution of images of this size right in bf16, if it is neither transposed nor dilated:
    its kernel is odd in each dimension. A strided one also has to be as those of most networks: it has one stride in all
    dimensions and at least two results along each, and its kernel is smaller than the image and overhangs it by half."""
    if any(window % 2 == 0 for window in kernel):
        return False
    if largest(stride) == 1:
        return True
    count = len(kernel)
    steps, overhang = _for_each(stride, count), (0,) * count if padding == "valid" else _for_each(padding, count)
    return len({*steps}) == 1 and all(
        over == window // 2 and side > max(window, step)
        for side, window, step, over in zip(size, kernel, steps, overhang, strict=True)
    )


def is_narrow_pointwise(kernel: Sequence[int], stride: int | Sequence[int], x: Tensor) -> bool:
    """Whether a convolution is 1 x 1, is strided, and has few input channels."""
    return tuple(kernel) == (1, 1) and largest(stride) > 1 and x.shape[-3] < NARROW


def has_one_output(weight: Tensor) -> bool:
    """Whether a transposed convolution with this weight has one output channel, in each group."""
    return weight.dim() == 4 and weight.shape[1] == 1


def _lowered_to(weight: Tensor) -> torch.dtype | None:
    """The type of half as many bits that a convolution with this weight is computed in; None if it is in none."""
    # Autocast leaves double, complex and whole numbers as they are.
    casts = torch.is_autocast_enabled("cpu") and weight.is_floating_point() and weight.dtype is not torch.float64
    computed = torch.get_autocast_dtype("cpu") if casts else weight.dtype
    return computed if computed.itemsize == 2 else None


def largest(option: int | Sequence[int]) -> int:
    """The largest of a convolution's strides or dilations, which are one for each dimension or one for all."""
    return option if isinstance(option, int) else max(option)


def _for_each(option: int | Sequence[int] | str, count: int) -> Sequence[Any]:
    """An option of a convolution for each of its dimensions: torch takes one for all of them, also in a list."""
    if isinstance(option, int | str):
        return (option,) * count
    return option if len(option) == count else (*option,) * count


def in_default_layout(x: Tensor) -> Tensor:
    """The tensor in torch's default layout, also if it was in two: torch goes by strides, and a tensor with a dimension of
    1 can be contiguous with those of either layout."""
    return x.contiguous().flatten().view(x.shape)
