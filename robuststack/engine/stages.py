"""Jobs that look at all of their images several times, in stages of blocks that depend on the stages before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robuststack.engine import blocks
from robuststack.engine.runtime import device_name
from robuststack.engine.workspace import Workspace
from robuststack.plan.job import Job
from robuststack.running.store import Block

Reporter = Callable[..., None]
Content = tuple[bytes, dict[str, Any]]
"""What is made of a block: a safetensors file, and facts that are JSON data, among them the `seconds` it took."""


class Stages:
    """The stages of one job. Blocks are numbered through all stages; a job that was killed goes on at the next block."""

    def __init__(self, job: Job, workspace: Workspace, report: Reporter, basis: Mapping[str, Any]) -> None:
        """`basis` is what, beside its specification and source code, decides what the job comes to."""
        self._job = job
        self._store = workspace.store
        self._report = report
        self._stamp = {"digest": job.digest, **basis}
        self._sizes = blocks.block_sizes(job, workspace)
        self._begun = 0
        self._device = device_name(workspace.hardware)
        self.devices: set[str] = set()
        """The processors or cards that the blocks so far were made on."""

        def noticed(text: str) -> None:
            report("job_noticed", job=job, text=text)

        self._kept = self._store.blocks(job.id, self._stamp, noticed)

    def run(self, make: Callable[[int], Content]) -> list[Block]:
        """The blocks of the next stage; `make` makes those that are not kept, from their number in the stage (0-based)."""
        first = self._begun * len(self._sizes)
        self._begun += 1
        made: list[Block] = []
        for number in range(len(self._sizes)):
            place = first + number
            if place in self._kept:
                block = self._store.read_block(self._job.id, place, self._stamp)
            else:
                content, facts = make(number)
                block = Block(place, content, {**facts, "device": self._device})
                self._store.save_block(self._job.id, block, self._stamp)
            made.append(block)
            self.devices.add(block.facts["device"])
            done, total = sum(self._sizes[: number + 1]), sum(self._sizes)
            self._report("block_finished", job=self._job, done=done, total=total, metrics={})
        return made
