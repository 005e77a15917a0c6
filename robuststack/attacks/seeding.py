"""Seeds for attack libraries that take no generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from robuststack.layers.generators import forked


@contextmanager
def seeded_from(source: torch.Generator) -> Iterator[int]:
    """Seed the default generators, and yield the seed, by a number drawn from `source`.

    For libraries that take no generator: what they draw is a function of it, and their own seeding ends here.
    """
    seed = int(torch.randint(2**31, (1,), generator=source, device=source.device))
    with forked(seed):
        yield seed
