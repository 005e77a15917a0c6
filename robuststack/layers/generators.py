"""Torch's default generators, which layers draw from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forked(seed: int) -> Iterator[None]:
    """Seed the default generators of the processor and of every card in use, and put their state back afterwards."""
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(cards)):
        torch.manual_seed(seed)
        yield
