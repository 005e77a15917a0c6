"""Slimmable layers: one set of weights at several widths, chosen in a forward pass (Yu et al. 2019).

At width w a network runs on the first share w of each layer's channels. Convolutions and linear layers take slices of
their weights, which are views: switching copies nothing. Batch norm cannot be shared, and there is one for each width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.adopt import adopt
from robuststack.layers.condition import Condition
from robuststack.layers.noise import Granularity, NoisyConv2d, WeightNoise, noisy
from robuststack.layers.roles import mark, rewrite, role_of


class SlimConv2d(nn.Conv2d):
    """A convolution of the input's channels to the share `width` of its own output channels.

    The weight is the first rows and columns of the whole. Depthwise convolutions keep one group a channel. Reads `width`.
    """

    def __init__(self, conv: nn.Conv2d, widths: Sequence[float], condition: Condition) -> None:
        adopt(self, conv)
        self.widths = tuple(widths)
        self.condition = condition

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        outputs = share(self.out_channels, current_width(self.condition, self.widths))
        bias = None if bias is None else bias[:outputs]
        if self.groups == 1:
            return super()._conv_forward(x, weight[:outputs, : x.shape[1]], bias)  # type: ignore[no-any-return]
        groups = x.shape[1]
        return functional.conv2d(x, weight[:outputs], bias, self.stride, self.padding, self.dilation, groups)


class NoisySlimConv2d(NoisyConv2d, SlimConv2d):
    """Noise on the whole weight, its standard deviation the whole tensor's, sliced with it; alpha serves all widths."""


@noisy.register
def _(layer: SlimConv2d, condition: Condition, granularity: Granularity) -> WeightNoise:
    return NoisySlimConv2d(layer, condition, granularity)


class SlimLinear(nn.Linear):
    """A linear layer that takes as many inputs as it gets; its outputs are the classes, at every width."""

    def __init__(self, linear: nn.Linear) -> None:
        adopt(self, linear)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight[:, : x.shape[-1]], self.bias)


@noisy.register
def _(layer: SlimLinear, condition: Condition, granularity: Granularity) -> WeightNoise:
    raise PluginError("noise on a slimmed linear layer is not supported; the published methods leave it plain")


class SwitchableLinear(nn.Module):
    """One linear layer for each width; each starts as the first columns of the layer it comes from. Reads `width`.

    A switchable output layer (SOLAR, arXiv 2509.16833; code: sakt90/SOLAR).
    """

    def __init__(self, linear: nn.Linear, widths: Sequence[float], condition: Condition) -> None:
        super().__init__()
        self.heads = nn.ModuleList([linear if width == 1 else _narrow_head(linear, width) for width in widths])
        self.widths = tuple(widths)
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[self.widths.index(current_width(self.condition, self.widths))](x)  # type: ignore[no-any-return]


def _narrow_head(linear: nn.Linear, width: float) -> nn.Linear:
    narrow = copy.deepcopy(linear)
    narrow.in_features = share(linear.in_features, width)
    narrow.weight = nn.Parameter(linear.weight.detach()[:, : narrow.in_features].clone())
    return narrow


class SwitchableBatchNorm2d(nn.Module):
    """One batch norm for each width; each starts as the first features of the norm it comes from. Reads `width`."""

    channel_axis = 1

    def __init__(self, norm: nn.BatchNorm2d, widths: Sequence[float], condition: Condition) -> None:
        super().__init__()
        self.norms = nn.ModuleList([norm if width == 1 else _narrow(norm, width) for width in widths])
        self.num_features = norm.num_features
        self.widths = tuple(widths)
        self.condition = condition
        mark(self, role_of(norm))

    def forward(self, x: Tensor) -> Tensor:
        index = self.widths.index(current_width(self.condition, self.widths))
        return self.norms[index](x)  # type: ignore[no-any-return]


def _narrow(norm: nn.BatchNorm2d, width: float) -> nn.BatchNorm2d:
    narrow = copy.deepcopy(norm)
    narrow.num_features = share(norm.num_features, width)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(narrow, name, nn.Parameter(parameter.detach()[: narrow.num_features].clone()))
    for name, buffer in norm.named_buffers(recurse=False):
        if buffer.dim() == 1:  # The running statistics, not the count of batches.
            setattr(narrow, name, buffer[: narrow.num_features].clone())
    return narrow


def share(channels: int, width: float) -> int:
    """How many of `channels` are active at `width`."""
    return round(channels * width)


def current_width(condition: Condition, widths: Sequence[float]) -> float:
    """The width of this forward pass.

    Raises:
        RuntimeError: the view gave none, or one that the model does not have.
    """
    width = condition.read("width")
    if width not in widths:
        raise RuntimeError(f"the model has no width {width}; it has {', '.join(f'{known:g}' for known in widths)}")
    return cast(float, width)


def slim(model: nn.Module, widths: Sequence[float], condition: Condition, *, heads: bool = False) -> nn.Module:
    """Make `model` runnable at each of `widths`, shares of its channels in (0, 1] of which one is 1.

    The images' channels and the outputs of linear layers are the same at every width. With `heads` each width has linear
    layers of its own.

    Raises:
        PluginError: a width that is no whole number of channels, or a layer that cannot be sliced.
    """
    _check(model, widths)
    rewrite(model, nn.BatchNorm2d, lambda norm: SwitchableBatchNorm2d(cast(nn.BatchNorm2d, norm), widths, condition))
    rewrite(model, nn.Conv2d, lambda conv: SlimConv2d(cast(nn.Conv2d, conv), widths, condition))
    rewrite(model, nn.Linear, lambda linear: _head(cast(nn.Linear, linear), widths, condition, switchable=heads))
    return model


def _head(linear: nn.Linear, widths: Sequence[float], condition: Condition, *, switchable: bool) -> nn.Module:
    if switchable:
        return SwitchableLinear(linear, widths, condition)
    return SlimLinear(linear)


def _check(model: nn.Module, widths: Sequence[float]) -> None:
    if 1 not in widths or not all(0 < width <= 1 for width in widths):
        raise PluginError(f"widths {list(widths)} must lie in (0, 1], and one of them is 1")
    channels = {path: _channels(path, module) for path, module in model.named_modules()}
    common = math.gcd(*(count for count in channels.values() if count))
    for width in widths:
        for path, count in channels.items():
            if count and not math.isclose(count * width, share(count, width), abs_tol=1e-6):
                raise PluginError(
                    f"width {width:g}: {path} has {count} channels, of which this is no whole number; valid here:"
                    f" multiples of 1/{common}"
                )


def _channels(path: str, module: nn.Module) -> int:
    """The channels of a layer that are sliced; 0 if none are."""
    if isinstance(module, WeightNoise):
        raise PluginError(f"{path} is noisy already; a network is slimmed first and made noisy then")
    if isinstance(module, nn.BatchNorm2d):
        return module.num_features
    if isinstance(module, nn.Conv2d):
        if module.groups > 1 and (module.groups != module.in_channels or module.padding_mode != "zeros"):
            raise PluginError(f"slimming knows plain and zero-padded depthwise convolutions; {path} has groups")
        return module.out_channels
    weights = [parameter for parameter in module.parameters(recurse=False) if parameter.numel() > 1]
    if weights and not isinstance(module, nn.Linear):
        raise PluginError(
            f"slimming knows convolutions, batch norm and linear layers; {path} is a {type(module).__name__}"
        )
    return 0
