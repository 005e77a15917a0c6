"""A norm with one set of statistics and affine parameters for each branch (Xie et al. 2020, AdvProp).

The published methods double batch norms. Group, instance and layer norms have no statistics to keep apart; their gamma and
beta are doubled alike.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.condition import Condition
from robuststack.layers.norms import NORMS, channel_axis, channels, norms
from robuststack.layers.roles import mark, rewrite, role_of


class DualNorm(nn.Module):
    """Two norms of one kind: branch 0 for clean and branch 1 for adversarial images; shapes are as the norm's, the batch
    first.

    Reads `split`: how many samples, from the first on, take branch 0; the others take branch 1. If that is None, it reads
    `branch`: one branch for the whole batch, or a boolean tensor [N] that is true for samples of branch 1.
    """

    def __init__(self, norm: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.branches = nn.ModuleList([norm, copy.deepcopy(norm)])
        self.condition = condition
        mark(self, role_of(norm))

    @property
    def num_features(self) -> int:
        return channels(self.branches[CLEAN])

    @property
    def channel_axis(self) -> int:
        return channel_axis(self.branches[CLEAN])

    def forward(self, x: Tensor) -> Tensor:
        split = self.condition.read("split")
        if split is not None and 0 < split < self._samples(x):
            halves = self.branches[CLEAN](x[:split]), self.branches[ADVERSARIAL](x[split:])
            return torch.cat(halves)
        branch = self.condition.read("branch") if split is None else int(split <= 0)
        if isinstance(branch, Tensor) and branch.numel() != 1:
            return self._mixed(x, branch)
        return self.branches[int(branch)](x)  # type: ignore[no-any-return]

    def _samples(self, x: Tensor) -> int:
        if x.shape[0] != self.condition.batch:
            raise PluginError(
                f"dual norm splits a batch of {self.condition.batch} images, and a norm gets {x.shape[0]} of them: it"
                " needs an architecture that keeps the batch in the first dimension"
            )
        return x.shape[0]

    def _mixed(self, x: Tensor, adversarial: Tensor) -> Tensor:
        self._samples(x)
        out: Tensor | None = None
        for branch, rows in zip(self.branches, (~adversarial, adversarial), strict=True):
            if bool(rows.any()):
                part = branch(x[rows])
                out = torch.empty_like(x, dtype=part.dtype) if out is None else out
                out[rows] = part
        return torch.empty_like(x) if out is None else out


def dualise(model: nn.Module, condition: Condition) -> nn.Module:
    """Give every norm of `model` a second branch, shortcut and final ones included.

    Raises:
        PluginError: the model has no norm to duplicate, or norms that torch computes past their forward pass, so that the
            branches would be lost.
    """
    if not any(True for _ in norms(model)):
        raise PluginError(
            "dual norm needs an architecture with batch, group, instance or layer norms, and this one has none"
        )
    encoder = next(
        (path for path, module in model.named_modules() if isinstance(module, nn.TransformerEncoderLayer)), None
    )
    if encoder is not None:
        raise PluginError(f"dual norm has no effect inside {encoder}, a TransformerEncoderLayer")
    rewrite(model, NORMS, lambda norm: DualNorm(norm, condition))
    return model
