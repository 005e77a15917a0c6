"""A job that a cluster works on: as a whole, or its blocks shared out among several workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from robuststack.plan.job import Job

CHUNK_SECONDS = 5.0
"""A worker gets as many blocks at a time as take it about so long: few enough that all workers end together."""


@dataclass
class SharedJob:
    """A job under way, and what is known of its blocks if they are shared out."""

    job: Job
    sizes: Sequence[int] = ()
    """Images of each block; empty for a job that is worked on as a whole."""
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Of the finished blocks, by number."""
    left: list[int] = field(default_factory=list)
    """The blocks that nobody makes yet."""
    retries: int = 0
    """How often workers of it were lost; those of one node that are lost together count once."""
    lost_on: set[str] = field(default_factory=set)
    """The nodes on which that was."""

    def waits(self, workers: int) -> bool:
        """Whether it has work to hand out while so many workers are at it. The work on the whole comes last."""
        return bool(self.left) or not workers

    def take(self, workers: int) -> tuple[int, ...]:
        """The next blocks for one of so many workers; empty for the work on the whole."""
        if not self.left:
            return ()
        known = [facts["seconds"] for facts in self.facts.values()]
        fast = max(int(CHUNK_SECONDS * len(known) / max(sum(known), 1e-9)), 1) if known else 1
        count = min(fast, math.ceil(len(self.left) / workers))
        taken, self.left = self.left[:count], self.left[count:]
        return tuple(taken)

    def lose(self, node: str, retries: int, blocks: Sequence[int]) -> None:
        """A worker on a node is lost that was asked for these blocks after so many retries."""
        if node not in self.lost_on or retries >= self.retries:
            self.retries += 1
        self.lost_on.add(node)
        self.give_back(blocks)

    def give_back(self, blocks: Sequence[int]) -> None:
        """Take back what a lost worker was to do: those of these blocks that are not finished."""
        self.left = sorted({*self.left, *(number for number in blocks if number not in self.facts)})

    @property
    def images_done(self) -> int:
        return sum(self.sizes[number] for number in self.facts)

    def seconds_left(self) -> float:
        """About how long one worker would take for the blocks that nobody makes yet; 0 if none was ever finished."""
        known = [facts["seconds"] for facts in self.facts.values()]
        return len(self.left) * sum(known) / len(known) if known else 0.0
