"""Torch's default generators, which layers draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class GeneratorState:
    """Where the default generators of torch, on the processor and on every card in use, of numpy and of Python stand."""

    processor: Tensor
    cards: Sequence[Tensor]
    numpy: dict[str, Any]
    python: tuple[Any, ...]

    @classmethod
    def now(cls) -> GeneratorState:
        cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return cls(torch.get_rng_state(), cards, np.random.get_state(legacy=False), random.getstate())

    def moved(self) -> bool:
        """Whether one of them has drawn since."""
        now = GeneratorState.now()
        tensors = zip((self.processor, *self.cards), (now.processor, *now.cards), strict=False)
        return (
            self.python != now.python
            or self.numpy["state"]["pos"] != now.numpy["state"]["pos"]
            or not np.array_equal(self.numpy["state"]["key"], now.numpy["state"]["key"])
            or self.numpy["has_gauss"] != now.numpy["has_gauss"]
            or any(not torch.equal(before, after) for before, after in tensors)
        )

    def restore(self) -> None:
        """From here on they give again the numbers that they gave from there on."""
        torch.set_rng_state(self.processor)
        if self.cards:
            torch.cuda.set_rng_state_all(self.cards)
        np.random.set_state(self.numpy)
        random.setstate(self.python)


@contextmanager
def forked(seed: int) -> Iterator[None]:
    """Seed the default generators of the processor and of every card in use, and put their state back afterwards."""
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(cards)):
        # For cards that are not there `torch.manual_seed` notes the stack, which takes longer than a small layer.
        seed_all = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed
        seed_all(seed)
        yield
