"""Named random streams."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from robuststack.layers.generators import forked


def stream_seed(*parts: object) -> int:
    """A seed for one random stream, from what names it: job seed, stream, epoch, batch."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def generator(device: torch.device, *parts: object) -> torch.Generator:
    """A generator of one named stream."""
    return torch.Generator(device).manual_seed(stream_seed(*parts))


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Seed the default generators of torch, numpy and Python from a stream's name, and put their state back afterwards.

    Layers draw from the default generators: a generator object inside a layer breaks compilation, dropout ignores it,
    and this way a resumed run needs no saved random state.
    """
    seed = stream_seed(*parts)
    # A user's model may draw from any of them.
    before = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        with forked(seed):
            yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
