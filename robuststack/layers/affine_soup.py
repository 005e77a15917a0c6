"""Batch norm with two affine sets, mixed at deployment (Rebuffi et al. 2023, adapters with adversarial training)."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.condition import Condition
from robuststack.layers.roles import mark, norms, rewrite, role_of

AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")


class AffineSoup2d(nn.Module):
    """A batch norm, [N, C, H, W] -> [N, C, H, W], with gamma = (1 - mix) gamma_c + mix gamma_a, and beta alike.

    The running statistics are shared by the two ends or, `dual`, each end has its own: a pass in train mode at an end
    moves that end's, and between the ends, in eval mode, they are mixed like gamma. Reads `mix`, in [0, 1].
    """

    def __init__(self, norm: nn.BatchNorm2d, condition: Condition, *, dual: bool) -> None:
        super().__init__()
        other = copy.deepcopy(norm)
        if not dual:
            other.track_running_stats = False
            for name in (*STATISTICS, "num_batches_tracked"):
                other.register_buffer(name, None)
        self.ends = nn.ModuleList([norm, other])
        self.dual = dual
        self.condition = condition
        mark(self, role_of(norm))

    def forward(self, x: Tensor) -> Tensor:
        mix = float(self.condition.read("mix"))
        mixed = {name: self._between(name, mix) for name in AFFINE}
        keeper = self.ends[1] if self.dual and mix == 1 else self.ends[0]
        if self.training:
            if self.dual and 0 < mix < 1:
                raise RuntimeError(f"mix {mix:g} in train mode: with dual statistics only the ends, 0 and 1, train")
            return cast(Tensor, functional_call(keeper, mixed, x))  # The norm itself keeps count of its statistics.
        mean, variance = (self._between(name, mix) if self.dual else getattr(keeper, name) for name in STATISTICS)
        return functional.batch_norm(x, mean, variance, mixed["weight"], mixed["bias"], eps=cast(float, keeper.eps))

    def _between(self, name: str, mix: float) -> Tensor:
        clean, adversarial = (getattr(end, name) for end in self.ends)
        if mix in (0, 1):
            return cast(Tensor, adversarial if mix else clean)
        return torch.lerp(clean, adversarial, mix)


def add_soup(model: nn.Module, condition: Condition, *, dual: bool) -> nn.Module:
    """Give every batch norm of `model` a second affine set and, `dual`, statistics of its own for it.

    Raises:
        PluginError: the model has no batch norm, or one without gamma, beta or running statistics.
    """
    found = list(norms(model))
    if not found:
        raise PluginError("an affine soup needs an architecture with batch norm layers, and this one has none")
    bare = next((path for path, norm in found if not (norm.affine and norm.track_running_stats)), None)
    if bare is not None:
        raise PluginError(
            f"an affine soup needs batch norms with gamma, beta and running statistics; {bare} lacks some"
        )
    rewrite(model, nn.BatchNorm2d, lambda norm: AffineSoup2d(cast(nn.BatchNorm2d, norm), condition, dual=dual))
    return model
