"""Layers whose weights are normally distributed, with learned means and deviations (Liu et al. 2019, Adv-BNN)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.layers.adopt import adopt
from robuststack.layers.condition import Condition
from robuststack.layers.normal import standard_normal
from robuststack.layers.roles import rewrite


class Variational(nn.Module):
    """A layer whose weight is mu + exp(s) * eta, eta standard normal, fresh in every forward pass and the same for the
    whole batch; a bias is drawn alike.

    mu are the plain layer's parameters, and s, the logarithm of the deviation of each, stands beside them (`weight_s`,
    `bias_s`). Reads `noise`, a factor on the deviations; at 0 the layer is the plain one.

    A mixin: it stands before the plain layer among a class's bases, and that class says in `operate` what the layer does
    with a weight and a bias.
    """

    weight: Tensor

    def __init__(self, layer: nn.Module, condition: Condition, deviation: float) -> None:
        adopt(self, layer)
        self.condition = condition
        for name, mean in list(self.means()):
            self.register_parameter(f"{name}_s", nn.Parameter(torch.full_like(mean, math.log(deviation))))
        self.kept: list[dict[str, Tensor]] = []
        """The draws of weight and bias that are kept, one for each member of an ensemble; empty if none is."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The plain layer's output with these in place of its own."""
        raise NotImplementedError

    def means(self) -> Iterator[tuple[str, Tensor]]:
        """`weight` and, if there is one, `bias`."""
        yield "weight", self.weight
        bias = self._parameters.get("bias")
        if bias is not None:
            yield "bias", bias

    def divergence(self, prior: float) -> Tensor:
        """KL(N(mu, exp(s)^2) || N(0, prior^2)), summed over weights and biases."""
        parts = []
        for name, mean in self.means():
            s = self.get_parameter(f"{name}_s")
            squares = ((2 * s).exp() + mean.square()) / (2 * prior**2)
            parts.append((math.log(prior) - s + squares - 0.5).sum())
        return torch.stack(parts).sum()

    @torch.no_grad()
    def freeze(self) -> None:
        """Keep one draw, at the factor that the condition holds now, or one for each member of the ensemble."""
        scale, members = float(self.condition.read("noise") or 0.0), int(self.condition.read("ensemble") or 1)
        self.kept = [self._draw(scale) for _ in range(members)]

    def _draw(self, scale: float) -> dict[str, Tensor]:
        """One draw of weight and bias."""
        if scale == 0.0:
            return dict(self.means())
        deviations = {name: scale * self.get_parameter(f"{name}_s").exp() for name, _ in self.means()}
        return {name: torch.addcmul(mean, standard_normal(mean), deviations[name]) for name, mean in self.means()}

    def forward(self, x: Tensor) -> Tensor:
        if self.kept:
            drawn = self.kept[int(self.condition.read("member") or 0)]
        else:
            drawn = self._draw(float(self.condition.read("noise") or 0.0))
        return self.operate(x, drawn["weight"], drawn.get("bias"))


class VariationalConv2d(Variational, nn.Conv2d):
    """A convolution with distributed weights."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(x, weight, bias)  # type: ignore[no-any-return]


class VariationalLinear(Variational, nn.Linear):
    """A linear layer with distributed weights."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)


def add_variational(model: nn.Module, condition: Condition, deviation: float) -> nn.Module:
    """Give every convolution and linear layer of `model` distributed weights, whose deviations start at `deviation`."""
    rewrite(model, nn.Conv2d, lambda layer: VariationalConv2d(layer, condition, deviation))
    rewrite(model, nn.Linear, lambda layer: VariationalLinear(layer, condition, deviation))
    return model


def divergence(model: nn.Module, prior: float) -> Tensor:
    """The KL term of a model: the sum over its layers with distributed weights."""
    parts = [module.divergence(prior) for module in model.modules() if isinstance(module, Variational)]
    return torch.stack(parts).sum()
