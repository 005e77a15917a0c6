"""Gaussian noise on weights, scaled by a learned alpha (He et al. 2019, PNI; Kundu et al. 2022, FLOAT, Eq. 4)."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from robuststack.layers.condition import Condition, View
from robuststack.layers.roles import rewrite

ALPHA_INIT = 0.25


class NoisyConv2d(nn.Conv2d):
    """A convolution with weight w + scale * alpha * eta, eta ~ N(0, std(w)^2), a fresh eta in every forward pass.

    std is taken over the whole weight tensor and carries no gradient; alpha is one learned scalar a layer. Reads
    `noise`, the scale; at 0 the layer is the plain convolution. One draw serves the whole batch.
    """

    def __init__(self, conv: nn.Conv2d, condition: Condition) -> None:
        nn.Module.__init__(self)
        # The plain layer's state, shared: the rewritten model starts from the very weights the architecture drew.
        self.__dict__.update({key: value for key, value in conv.__dict__.items() if key not in self.__dict__})
        self.weight = conv.weight
        self.bias = conv.bias
        self.alpha = nn.Parameter(conv.weight.new_full((), ALPHA_INIT))
        self.condition = condition
        self._std: tuple[object, Tensor] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_std": None}

    def weight_std(self) -> Tensor:
        """The standard deviation of the weights. While they are frozen, as during an attack, it is computed once."""
        weight = self.weight
        if weight.requires_grad:
            # Not even the version tells a change here: fused optimisers do not count theirs.
            self._std = None
            return weight.detach().std()
        key = (weight._version, weight.data_ptr(), weight.dtype)
        if self._std is None or self._std[0] != key:
            self._std = key, weight.detach().std()
        return self._std[1]

    def noisy_weight(self, scale: float) -> Tensor:
        """One draw of the weight at this noise scale."""
        eta = torch.randn(self.weight.shape, device=self.weight.device, dtype=self.weight.dtype)
        return torch.addcmul(self.weight, eta, self.alpha * (scale * self.weight_std()))

    @torch.no_grad()
    def bake(self, scale: float) -> None:
        """Keep one draw at this noise scale as the weight."""
        self.weight.copy_(self.noisy_weight(scale))

    def forward(self, x: Tensor) -> Tensor:
        scale = float(self.condition.read("noise") or 0.0)
        weight = self.noisy_weight(scale) if scale != 0.0 else self.weight
        return self._conv_forward(x, weight, self.bias)  # type: ignore[no-any-return]


def add_noise(model: nn.Module, condition: Condition) -> nn.Module:
    """Make every convolution of `model` noisy, 1 x 1 shortcuts included; linear layers stay plain."""
    rewrite(model, nn.Conv2d, lambda conv: NoisyConv2d(cast(nn.Conv2d, conv), condition))
    return model


def bake(view: View) -> View:
    """An independent copy of the view's model with one noise draw in its weights: deterministic, as fast as without
    noise. The draw comes from torch's default generator. A layer with noise of its own kind has a `bake(scale)` too."""
    scale = float(view.values.get("noise") or 0.0)
    model = copy.deepcopy(view.model)
    for module in model.modules():
        own = getattr(module, "bake", None)
        if scale != 0.0 and callable(own):
            own(scale)
    values = {**view.values, **({"noise": 0.0} if "noise" in view.values else {})}
    return View(model, values, stochastic=False)
