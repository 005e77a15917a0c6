"""Named random streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Seed the default generators from a stream's name, and put their state back afterwards.

    Layers draw from the default generators: a generator object inside a layer breaks compilation, dropout ignores it,
    and this way a resumed run needs no saved random state.
    """
    with forked(stream_seed(*parts)):
        yield
