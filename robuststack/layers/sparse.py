"""Convolutions with few weights alive: random masks, and magnitude pruning with momentum regrowth.

Sparse momentum (Dettmers and Zettlemoyer 2019): a mask starts at random; now and then each layer loses its smallest
weights, and as many grow anew where the optimiser's momentum says that they are missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

MASK = "mask"


def alive_at(density: float, weights: int) -> int:
    """How many of a layer's weights are alive at `density`, in (0, 1]; at least one."""
    return max(1, round(density * weights))


def sparsify(model: nn.Module, density: float) -> nn.Module:
    """Give every convolution of `model` a random mask of that density, and set its other weights to zero.

    The mask is a boolean buffer of the weight's shape, a part of the model's state. Weight noise respects it.
    """
    for layer in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
        weight = layer.weight
        order = torch.randperm(weight.numel(), device=weight.device)
        mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
        mask[order[: alive_at(density, weight.numel())]] = True
        layer.register_buffer(MASK, mask.view(weight.shape))
    apply_masks(model)
    return model


def masked_layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Every convolution that has a mask, with its path, in the model's order."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module._buffers.get(MASK) is not None:
            yield path, module


@torch.no_grad()
def apply_masks(model: nn.Module) -> None:
    """Set the weights that are not alive to zero. Their gradients stay: regrowth goes by them."""
    for _, layer in masked_layers(model):
        layer.weight.mul_(layer.get_buffer(MASK))


@torch.no_grad()
def regrow(model: nn.Module, momentum: Mapping[Tensor, Tensor], rate: float) -> None:
    """Prune the share `rate` of each layer's weights, the smallest, and let as many grow over all layers together.

    `momentum` holds the optimiser's running mean of gradients of each masked weight. What was pruned is divided over the
    layers in proportion to the mean |momentum| of the weights that were alive; in a layer those grow that are not alive
    and have the largest |momentum|, from zero (one that was pruned just now comes back as it was). The number of weights
    alive in the whole model does not change.
    """
    layers = [layer for _, layer in masked_layers(model)]
    sizes = [momentum[layer.weight].abs().contiguous().flatten() for layer in layers]
    # Copies: flattening alone would alias the buffers of some layers.
    masks = [layer.get_buffer(MASK).clone(memory_format=torch.contiguous_format).flatten() for layer in layers]
    shares = [float(size[mask].mean()) if bool(mask.any()) else 0.0 for size, mask in zip(sizes, masks, strict=True)]
    pruned = 0
    for layer, mask in zip(layers, masks, strict=True):
        count = math.ceil(rate * int(mask.sum()))
        magnitude = layer.weight.abs().contiguous().flatten().masked_fill(~mask, torch.inf)
        mask[magnitude.argsort(stable=True)[:count]] = False
        pruned += count
    room = [int((~mask).sum()) for mask in masks]
    for layer, mask, size, count in zip(layers, masks, sizes, divide(pruned, shares, room), strict=True):
        mask[size.masked_fill(mask, -1).argsort(descending=True, stable=True)[:count]] = True
        layer.get_buffer(MASK).copy_(mask.view(layer.weight.shape))
    apply_masks(model)


def divide(total: int, shares: Sequence[float], room: Sequence[int]) -> list[int]:
    """Whole numbers that add up to `total`, in proportion to `shares` (at least 0), none larger than its `room`.

    What a full one cannot take goes to the others in proportion, and where no share is left, wherever there is room.
    `total` is at most the sum of `room`.
    """
    given = [0] * len(room)
    while (left := total - sum(given)) > 0:
        open_ = [index for index, most in enumerate(room) if given[index] < most]
        weights = {index: shares[index] for index in open_}
        if not sum(weights.values()) > 0:
            weights = dict.fromkeys(open_, 1.0)
        exact = {index: left * weight / sum(weights.values()) for index, weight in weights.items()}
        fair = {index: min(math.floor(share), room[index] - given[index]) for index, share in exact.items()}
        if not any(fair.values()):
            # Less than one for each: the last ones, to the largest shares.
            first = sorted(open_, key=lambda index: (-exact[index], index))[:left]
            fair = dict.fromkeys(first, 1)
        for index, count in fair.items():
            given[index] += count
    return given
