"""Standard normal draws of the size of weights, which noise takes by the dozen for every training step.

They are torch's own. Training and attacks, which need many draws and score nothing, may look large ones up in a table of
quantiles instead, which a processor does in half of the time: the engine says so by `quantile_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

MANY = 1 << 18
"""From so many numbers on, a processor may look them up: torch computes them in one thread, and takes twice as long."""
BLOCK = 1 << 18  # Numbers at a time, so that a block's random bits are still in the cache when they are used.


@dataclass
class TableUse:
    """How many draws came from the table of quantiles."""

    draws: int = 0


_TABLE_USE: ContextVar[TableUse | None] = ContextVar("_TABLE_USE", default=None)


@contextmanager
def quantile_table(use: TableUse | None = None) -> Iterator[None]:
    """Let large draws on a processor come from the table of quantiles, in this thread and until the block ends.

    They are counted in `use`; without one, in that of the block around this one. Only training steps and the model that
    attacks see stand inside of it. What judges, freezes, measures or exports a model draws from torch: no number of the
    table is beyond 4.33, where 15 in a million of a normal distribution would be.
    """
    token = _TABLE_USE.set(use or _TABLE_USE.get() or TableUse())
    try:
        yield
    finally:
        _TABLE_USE.reset(token)


def standard_normal(like: Tensor) -> Tensor:
    """A standard normal draw of the shape, device, type and memory order of `like`, from torch's default generator.

    Filling a channels-last tensor in its logical order takes four times as long as filling a contiguous one, and adding two
    tensors of different orders five times as long as of one: so it is drawn in memory order.
    """
    last = like.dim() == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    shape = like.permute(0, 2, 3, 1).shape if last else like.shape
    use = _table_use(like)
    if use is not None:
        drawn = _looked_up(like.numel()).view(shape)
        use.draws += 1
    else:
        drawn = torch.randn(shape, device=like.device, dtype=like.dtype)
    return drawn.permute(0, 3, 1, 2) if last else drawn


def _table_use(like: Tensor) -> TableUse | None:
    """Where a draw of the size of `like` is counted, if it is looked up."""
    # Numbers that are looked up would be constants of a compiled program, whatever stands around it.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return None
    large = like.device.type == "cpu" and like.dtype == torch.float32 and like.numel() >= MANY
    return _TABLE_USE.get() if large else None


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
