"""Gaussian noise on weights, scaled by a learned alpha (He et al. 2019, PNI; Kundu et al. 2022, FLOAT, Eq. 4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.adopt import adopt
from robuststack.layers.condition import Condition
from robuststack.layers.normal import standard_normal
from robuststack.layers.roles import rewrite

ALPHA_INIT = 0.25

Granularity = Literal["layer", "channel", "element"]
"""How many alphas a layer has: one, one for each output channel, or one for each weight."""


class WeightNoise(nn.Module):
    """A layer with weight w + scale * alpha * eta, eta ~ N(0, std(w)^2), a fresh eta in every forward pass.

    std is taken over the whole weight tensor and carries no gradient; a single weight has no spread, so its std is 0 and it
    gets no noise. alpha is learned and has the shape (), that of a bias to the weights of an output channel, or the
    weight's. Reads `noise`, the scale; at 0 the layer is the plain one.
    One draw serves the whole batch. With a `mask` (`layers.sparse`) only the weights that are alive get noise.

    A mixin: it stands before the plain layer among a class's bases, and that class says in `operate` what the layer
    does with a weight.
    """

    weight: Tensor
    mask: Tensor | None

    def __init__(self, layer: nn.Module, condition: Condition, granularity: Granularity = "layer") -> None:
        adopt(self, layer)
        shape = alpha_shape(self.weight, granularity)
        self.alpha = nn.Parameter(self.weight.new_full(shape, ALPHA_INIT))
        self.condition = condition
        self._holds_draw = False
        if "mask" not in self._buffers:
            self.register_buffer("mask", None)
        self._std: tuple[object, Tensor] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_std": None}

    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        """The plain layer's output with `weight` in place of its own."""
        raise NotImplementedError

    def weight_std(self) -> Tensor:
        """The standard deviation of the weights. While they are frozen, as during an attack, it is computed once."""
        weight = self.weight
        if weight.requires_grad:
            # Not even the version tells a change here: fused optimisers do not count theirs.
            self._std = None
            return _spread(weight)
        key = (weight._version, weight.data_ptr(), weight.dtype)
        if self._std is None or self._std[0] != key:
            self._std = key, _spread(weight)
        return self._std[1]

    def eta(self) -> Tensor:
        """One standard normal draw of the weight's shape, in the weight's memory order; zero where a mask is."""
        eta = standard_normal(self.weight)
        return eta if self.mask is None else eta * self.mask

    def noisy_weight(self, scale: float) -> Tensor:
        """One draw of the weight at this noise scale."""
        return torch.addcmul(self.weight, self.eta(), self.alpha * (scale * self.weight_std()))

    @property
    def noise_scale(self) -> float:
        """The noise scale of this forward pass; 0 if there is none, or if the weight holds a draw already."""
        return 0.0 if self._holds_draw else float(self.condition.read("noise") or 0.0)

    @torch.no_grad()
    def freeze(self) -> None:
        """Keep one draw, at the scale that the condition holds now, as the weight; from then on `noise` is not read. The
        draw is the same in every memory layout."""
        if self.noise_scale != 0.0:
            eta = torch.randn(self.weight.shape, device=self.weight.device, dtype=self.weight.dtype)
            eta = eta if self.mask is None else eta * self.mask
            self.weight.addcmul_(eta, self.alpha * (self.noise_scale * self.weight_std()))
        self._holds_draw = True

    def forward(self, x: Tensor) -> Tensor:
        scale = self.noise_scale
        return self.operate(x, self.noisy_weight(scale) if scale != 0.0 else self.weight)


def _spread(weight: Tensor) -> Tensor:
    return weight.detach().std() if weight.numel() > 1 else weight.new_zeros(())


def alpha_shape(weight: Tensor, granularity: Granularity) -> tuple[int, ...]:
    """The shape of alpha, which broadcasts against `weight`."""
    if granularity == "layer":
        return ()
    if granularity == "channel":
        return weight.shape[0], *(1 for _ in weight.shape[1:])
    return tuple(weight.shape)


class NoisyConv2d(WeightNoise, nn.Conv2d):
    """A convolution with noise on its weights."""

    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._conv_forward(x, weight, self.bias)  # type: ignore[no-any-return]


class NoisyLinear(WeightNoise, nn.Linear):
    """A linear layer with noise on its weights."""

    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight, self.bias)


@singledispatch
def noisy(layer: nn.Module, condition: Condition, granularity: Granularity) -> WeightNoise:
    """The layer with noise on its weights. A layer class of its own kind registers its noisy form: `@noisy.register`."""
    raise TypeError(f"{type(layer).__name__} has no noisy form; it can be given one with @noisy.register")


@noisy.register
def _(layer: nn.Conv2d, condition: Condition, granularity: Granularity) -> WeightNoise:
    return NoisyConv2d(layer, condition, granularity)


@noisy.register
def _(layer: nn.Linear, condition: Condition, granularity: Granularity) -> WeightNoise:
    return NoisyLinear(layer, condition, granularity)


def add_noise(
    model: nn.Module, condition: Condition, granularity: Granularity = "layer", linear: bool = False
) -> nn.Module:
    """Make every convolution of `model` noisy, 1 x 1 shortcuts included, and with `linear` every linear layer too.

    Raises:
        PluginError: a linear layer whose weight torch's attention reads past its forward pass, so that noise would be lost.
    """
    attention = next(
        (path for path, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)), None
    )
    if linear and attention is not None:
        raise PluginError(f"noise on linear layers has no effect inside {attention}, a MultiheadAttention")
    kinds = (nn.Conv2d, nn.Linear) if linear else (nn.Conv2d,)
    rewrite(model, kinds, lambda layer: noisy(layer, condition, granularity))
    return model


def noisy_layers(model: nn.Module) -> Iterator[tuple[str, WeightNoise]]:
    """Every layer with weight noise, with its path, in the model's order."""
    for path, module in model.named_modules():
        if isinstance(module, WeightNoise):
            yield path, module


def noise_scales(model: nn.Module) -> dict[str, float]:
    """Layer -> mean |alpha|: the noise that training left there, in standard deviations of the layer's weights."""
    return {path: float(layer.alpha.detach().abs().mean()) for path, layer in noisy_layers(model)}
