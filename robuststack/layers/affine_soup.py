"""Norms with two affine sets, mixed at deployment (Rebuffi et al. 2023, adapters with adversarial training)."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.condition import Condition
from robuststack.layers.norms import NORMS, norms
from robuststack.layers.roles import mark, rewrite, role_of

AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")


class AffineSoup(nn.Module):
    """A norm with gamma = (1 - mix) gamma_c + mix gamma_a, and beta alike; shapes are as the norm's.

    A batch norm's running statistics are shared by the two ends or, `dual`, each end has its own: a pass in train mode at
    an end moves that end's, and between the ends, in eval mode, they are mixed like gamma. Other norms keep none. Reads
    `mix`, in [0, 1].
    """

    def __init__(self, norm: nn.Module, condition: Condition, *, dual: bool) -> None:
        super().__init__()
        other: Any = copy.deepcopy(norm)
        self.keeps_statistics = _keeps_statistics(norm)
        if self.keeps_statistics and not dual:
            other.track_running_stats = False
            for name in (*STATISTICS, "num_batches_tracked"):
                other.register_buffer(name, None)
        self.ends = nn.ModuleList([norm, other])
        self.dual = dual and self.keeps_statistics
        self.condition = condition
        mark(self, role_of(norm))

    def forward(self, x: Tensor) -> Tensor:
        mix = float(self.condition.read("mix"))
        names = [name for name in AFFINE if getattr(self.ends[0], name, None) is not None]
        mixed = {name: self._between(name, mix) for name in names}
        keeper = self.ends[1] if self.dual and mix == 1 else self.ends[0]
        if self.training or not self.keeps_statistics:
            if self.dual and 0 < mix < 1:
                raise RuntimeError(f"mix {mix:g} in train mode: with dual statistics only the ends, 0 and 1, train")
            return cast(Tensor, functional_call(keeper, mixed, x))  # A batch norm itself keeps count of its statistics.
        mean, variance = (self._between(name, mix) if self.dual else getattr(keeper, name) for name in STATISTICS)
        return functional.batch_norm(x, mean, variance, mixed["weight"], mixed["bias"], eps=cast(float, keeper.eps))

    def _between(self, name: str, mix: float) -> Tensor:
        clean, adversarial = (getattr(end, name) for end in self.ends)
        if mix in (0, 1):
            return cast(Tensor, adversarial if mix else clean)
        return torch.lerp(clean, adversarial, mix)


def add_soup(model: nn.Module, condition: Condition, *, dual: bool) -> nn.Module:
    """Give every norm of `model` a second affine set and, `dual`, every batch norm statistics of its own for it.

    Raises:
        PluginError: the model has no norm, one without gamma, or a batch norm without beta or running statistics; or no
            norm has the statistics that are wanted twice.
    """
    layers = list(norms(model))
    if not layers:
        raise PluginError("an affine soup needs an architecture with norm layers, and this one has none")
    bare = next((path for path, norm in layers if not _mixable(norm)), None)
    if bare is not None:
        raise PluginError(
            f"an affine soup needs norms with gamma, and batch norms with beta and running statistics; {bare} lacks some"
        )
    if dual and not any(_keeps_statistics(norm) for _, norm in layers):
        raise PluginError("statistics: dual needs an architecture with batch norms, which alone keep statistics")
    rewrite(model, NORMS, lambda norm: AffineSoup(norm, condition, dual=dual))
    return model


def _keeps_statistics(norm: nn.Module) -> bool:
    return getattr(norm, "running_mean", None) is not None


def _mixable(norm: nn.Module) -> bool:
    affine: list[Any] = [getattr(norm, name, None) for name in AFFINE]
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return _keeps_statistics(norm) and all(parameter is not None for parameter in affine)
    return affine[0] is not None
