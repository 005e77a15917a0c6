"""The norm layers of a network: which there are, and where their channels stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

NORMS: tuple[type[nn.Module], ...] = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Torch's norms of activations. All but those of a batch compute each sample's statistics from that sample alone."""


def norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every norm layer of a model, with its path."""
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            yield path, module


def channels(norm: nn.Module) -> int:
    """How many channels a norm layer normalises."""
    shape: Any = getattr(norm, "normalized_shape", None)
    count: Any = shape[0] if shape else getattr(norm, "num_channels", None) or getattr(norm, "num_features", None)
    return int(count)


def channel_axis(norm: nn.Module) -> int:
    """The dimension of the channels in what a norm layer returns: 1, or from the end for layer norms, which stand in
    networks of tokens [N, L, C] and of images [N, C, H, W]."""
    shape: Any = getattr(norm, "normalized_shape", None)
    if not shape:
        return 1
    if len(shape) > 1 or type(norm).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return -len(shape)
    # A layer norm with a forward pass of its own, such as torchvision's LayerNorm2d, may take channels first.
    like = next(norm.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            norm(torch.zeros(1, shape[0], 1, 1, device=like.device))
    except RuntimeError:
        return -1
    return 1
