"""Standard normal draws of the size of weights, which noise takes by the dozen for every training step.

They are torch's own. Training and attacks, which need many draws and score nothing, may look large ones up in a table of
quantiles instead, which a processor does in half of the time: the engine says so by `quantile_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import numpy as np
import torch
from torch import Tensor

MANY = 1 << 18
"""From so many numbers on, a processor may look them up: torch computes them in one thread, and takes twice as long."""
BLOCK = 1 << 18  # Numbers at a time, so that a block's random bits are still in the cache when they are used.

_TABLE_SERVES = ContextVar("_TABLE_SERVES", default=False)


@contextmanager
def quantile_table() -> Iterator[None]:
    """Let large draws on a processor come from the table of quantiles, in this thread and until the block ends.

    Only training steps and the model that attacks see stand inside of it. What judges, freezes, measures or exports a model
    draws from torch: no number of the table is beyond 4.33, where 15 in a million of a normal distribution would be.
    """
    token = _TABLE_SERVES.set(True)
    try:
        yield
    finally:
        _TABLE_SERVES.reset(token)


def standard_normal(like: Tensor) -> Tensor:
    """A standard normal draw of the shape, device, type and memory order of `like`, from torch's default generator.

    Filling a channels-last tensor in its logical order takes four times as long as filling a contiguous one, and adding two
    tensors of different orders five times as long as of one: so it is drawn in memory order.
    """
    last = like.dim() == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    shape = like.permute(0, 2, 3, 1).shape if last else like.shape
    if _is_looked_up(like):
        drawn = _looked_up(like.numel()).view(shape)
    else:
        drawn = torch.randn(shape, device=like.device, dtype=like.dtype)
    return drawn.permute(0, 3, 1, 2) if last else drawn


def _is_looked_up(like: Tensor) -> bool:
    # Numbers that are looked up would be constants of a compiled program, whatever stands around it.
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not _TABLE_SERVES.get():  # type: ignore[attr-defined]
        return False
    return like.device.type == "cpu" and like.dtype == torch.float32 and like.numel() >= MANY


def _looked_up(count: int) -> Tensor:
    """Normal numbers [count]: quantiles at random places, of 16 bits each. No number is beyond 4.33, where 15 in a million
    would be."""
    # A stream of its own, named by torch's: numpy's bits cost a third of torch's.
    bits = np.random.SFC64(int(torch.randint(2**62, (), device="cpu")))
    drawn, quantiles = torch.empty(count, dtype=torch.float32, device="cpu"), _quantiles()
    for block in drawn.split(BLOCK):
        places = torch.from_numpy(bits.random_raw(-(-len(block) // 4)).view(np.int16))[: len(block)]
        torch.index_select(quantiles, 0, places.to(torch.int32).add_(1 << 15), out=block)
    return drawn


@cache
def _quantiles() -> Tensor:
    """The normal distribution's quantiles at the middle of 2^16 equal shares, scaled to variance 1: float32 [65536]."""
    quantiles: Tensor = torch.special.ndtri(
        (torch.arange(1 << 16, dtype=torch.float64, device="cpu") + 0.5) / (1 << 16)
    )
    return (quantiles / quantiles.square().mean().sqrt()).float()
