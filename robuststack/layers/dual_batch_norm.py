"""Batch norm with one set of statistics and affine parameters for each branch (Xie et al. 2020, AdvProp)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.condition import Condition
from robuststack.layers.roles import mark, norms, rewrite, role_of


class DualBatchNorm2d(nn.Module):
    """Two batch norms, [N, C, H, W] -> [N, C, H, W]: branch 0 for clean and branch 1 for adversarial images.

    Reads `split` (the first so many samples take branch 0, the others branch 1) or, where that is None, `branch`: one
    branch for the whole batch, or a boolean tensor [N] that is true where branch 1 is meant.
    """

    def __init__(self, norm: nn.BatchNorm2d, condition: Condition) -> None:
        super().__init__()
        self.branches = nn.ModuleList([norm, copy.deepcopy(norm)])
        self.num_features = norm.num_features
        self.condition = condition
        mark(self, role_of(norm))

    def forward(self, x: Tensor) -> Tensor:
        split = self.condition.read("split")
        if split is not None and 0 < split < x.shape[0]:
            halves = self.branches[CLEAN](x[:split]), self.branches[ADVERSARIAL](x[split:])
            return torch.cat(halves)
        branch = self.condition.read("branch") if split is None else int(split <= 0)
        if isinstance(branch, Tensor) and branch.numel() != 1:
            return self._mixed(x, branch)
        return self.branches[int(branch)](x)  # type: ignore[no-any-return]

    def _mixed(self, x: Tensor, adversarial: Tensor) -> Tensor:
        out = torch.empty_like(x)
        for index, rows in ((CLEAN, ~adversarial), (ADVERSARIAL, adversarial)):
            if bool(rows.any()):
                out[rows] = self.branches[index](x[rows]).to(out.dtype)
        return out


def dualise(model: nn.Module, condition: Condition) -> nn.Module:
    """Give every batch norm of `model` a second branch, shortcut and final ones included.

    Raises:
        PluginError: the model has no batch norm to duplicate, or one of another kind, whose statistics the branches would
            share without a word.
    """
    if not any(True for _ in norms(model)):
        raise PluginError("dual batch norm needs an architecture with batch norm layers, and this one has none")
    other = next((path for path, one in model.named_modules() if _is_other(one)), None)
    if other is not None:
        raise PluginError(
            f"dual batch norm knows BatchNorm2d layers; {other} is another kind: use another architecture"
        )
    rewrite(model, nn.BatchNorm2d, lambda norm: DualBatchNorm2d(norm, condition))  # type: ignore[arg-type]
    return model


def _is_other(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.BatchNorm2d)
