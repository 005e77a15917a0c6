"""Gaussian noise on what a layer gets: the image (Cohen et al. 2019) or the input of each convolution (Liu et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.adopt import adopt
from robuststack.layers.condition import Condition
from robuststack.layers.flow import operations
from robuststack.layers.normal import standard_normal
from robuststack.layers.norms import NORMS
from robuststack.layers.roles import rewrite

SEEDS = 2**31
"""Of kept draws: torch's generator on processors looks at no more bits."""
APART = 1_000_003
"""How far the seeds of an ensemble's members lie apart."""


class GaussianNoise:
    """x + scale * eta, eta standard normal and fresh in every forward pass, for each entry of each sample. Reads `noise`, a
    factor on the scale; at 0 the input is left alone. A mixin of a module with a `condition`."""

    condition: Condition
    scale: float
    kept: dict[tuple[int, ...], Tensor] | None = None
    """Member of an ensemble and size of an input -> the draw that is kept for it, if one is kept."""
    seed: int
    """Of the kept draws."""

    def noised(self, x: Tensor) -> Tensor:
        """x [N, ...] with noise."""
        scale = self.scale * float(self.condition.read("noise") or 0.0)
        if scale == 0.0:
            return x
        return x + scale * (standard_normal(x) if self.kept is None else self._kept_draw(x))

    def freeze(self) -> None:
        """Keep one draw from now on: the same for each sample, and another for each member of an ensemble. Inputs of
        another size get another draw."""
        self.seed, self.kept = int(torch.randint(SEEDS, (), device="cpu")), {}

    def _kept_draw(self, x: Tensor) -> Tensor:
        assert self.kept is not None
        member = int(self.condition.read("member") or 0)
        key = member, *x.shape[1:]
        if key not in self.kept:
            source = torch.Generator().manual_seed((self.seed + APART * member) % SEEDS)
            # Drawn on a processor, so that every device keeps the same, and moved there once.
            self.kept[key] = torch.randn((1, *x.shape[1:]), generator=source).to(x.device)
        return self.kept[key].to(x)


class NoisyInput(GaussianNoise, nn.Module):
    """A network behind noise on its images. Reads `noise`, the standard deviation in units of the pixel range."""

    def __init__(self, network: nn.Module, condition: Condition) -> None:
        nn.Module.__init__(self)
        self.network, self.condition, self.scale = network, condition, 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.noised(x))  # type: ignore[no-any-return]


class NoisyInputConv2d(GaussianNoise, nn.Conv2d):
    """A convolution of its input with noise. Padding gets none."""

    def __init__(self, conv: nn.Conv2d, condition: Condition, scale: float) -> None:
        adopt(self, conv)
        self.condition, self.scale = condition, scale

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # Not `forward`: a batch norm behind it can be folded into its weight.
        return super()._conv_forward(self.noised(x), weight, bias)  # type: ignore[no-any-return]


def add_activation_noise(
    model: nn.Module, condition: Condition, shape: tuple[int, int, int], *, first: float, others: float
) -> nn.Module:
    """Give the convolution that sees the image (of `shape`, C, H, W) noise of standard deviation `first` on its input, and
    every other convolution `others`.

    Raises:
        PluginError: the network's first layer is no convolution.
    """
    stem = first_convolution(model, shape)
    rewrite(
        model,
        nn.Conv2d,
        lambda conv: NoisyInputConv2d(cast(nn.Conv2d, conv), condition, first if conv is stem else others),
    )
    return model


def noisy_convolutions(model: nn.Module) -> Iterator[NoisyInputConv2d]:
    """Every convolution with noise on its input, in the model's order."""
    return (module for module in model.modules() if isinstance(module, NoisyInputConv2d))


def first_convolution(model: nn.Module, shape: tuple[int, int, int]) -> nn.Conv2d:
    """The convolution that sees the image (of `shape`, C, H, W) before any other layer with weights but norms.

    Raises:
        PluginError: another layer with weights is the first.
    """
    weighted = tuple(
        {type(module) for module in model.modules() if "weight" in module._parameters and not isinstance(module, NORMS)}
    )
    first = next((step.module for step in operations(model, shape, weighted) if step.module is not None), None)
    if not isinstance(first, nn.Conv2d):
        kind = "none with weights" if first is None else f"a {type(first).__name__}"
        raise PluginError(f"it works on a network whose first layer is a convolution; here it is {kind}")
    return first
