"""Two networks in one model, mixed at deployment."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.condition import Condition


class LogitMix(nn.Module):
    """log((1 - mix) softmax(clean(x)) + mix softmax(robust(x))), images [N, C, H, W] -> logits [N, K].

    Adaptive smoothing with a constant weight (Bai et al., arXiv 2301.12554, eq. 4). At `mix` 0 and 1 one network runs, and
    its own logits are returned. Reads `mix`, in [0, 1].
    """

    def __init__(self, clean: nn.Module, robust: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.clean, self.robust, self.condition = clean, robust, condition

    def forward(self, x: Tensor) -> Tensor:
        mix = mix_of(self.condition)
        if mix == 0:
            return self.clean(x)  # type: ignore[no-any-return]
        if mix == 1:
            return self.robust(x)  # type: ignore[no-any-return]
        clean, robust = both_logits(self.clean, self.robust, x)
        return log_mix(functional.log_softmax(clean, 1), functional.log_softmax(robust, 1), mix)


def mix_of(condition: Condition) -> float:
    """The weight of the robust network in this forward pass.

    Raises:
        PluginError: it is none, or outside [0, 1].
    """
    mix = condition.read("mix")
    if mix is None or not 0 <= mix <= 1:
        raise PluginError(f"mix is {mix}; valid: a number from 0, the clean network, to 1, the robust one")
    return float(mix)


def both_logits(clean: nn.Module, robust: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The float32 logits [N, K] of two networks.

    Raises:
        PluginError: they have other classes, or other shapes.
    """
    # Probabilities near 0 and 1 need more digits than bf16 has.
    first, second = clean(x).float(), robust(x).float()
    if first.shape != second.shape or first.dim() != 2:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise PluginError(f"a mix needs two networks that give logits [N, K] for the same classes; these give {shapes}")
    return first, second


def log_mix(clean: Tensor, robust: Tensor, mix: float) -> Tensor:
    """log((1 - mix) exp(clean) + mix exp(robust)) for log-probabilities [N, K] and 0 < mix < 1."""
    return torch.logaddexp(clean + math.log1p(-mix), robust + math.log(mix))
