"""Puts what a job needs of the store into a parcel, each file once for all workers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from robuststack.errors import StoreError
from robuststack.plan.job import Job
from robuststack.running.executors.parcel import Parcel, Reference, SentBlock, SentCheckpoint, SentJob, as_array
from robuststack.running.store import Store

KEPT_BYTES = 1 << 30
"""Files of finished jobs stay in the cluster's memory until they are so large together, those used last."""


class Sender:
    """Makes parcels of what a store holds. `put` takes content and returns what stands for it on the way."""

    def __init__(self, store: Store, put: Callable[[np.ndarray], Reference]) -> None:
        self._store = store
        self._put = put
        self._kept: OrderedDict[str, tuple[Reference, int]] = OrderedDict()
        """Hash of a file -> what stands for it, and its bytes; the one used last is last."""

    def needs(self, jobs: Iterable[str]) -> dict[str, SentJob]:
        """Finished jobs, with all files that they have."""
        sent: dict[str, SentJob] = {}
        for job in jobs:
            result = self._store.result(job)
            sent[job] = SentJob(result, {name: self._file(job, name, result) for name in result["files"]})
        return sent

    def parcel(self, job: Job, noticed: Callable[[str], None]) -> Parcel:
        """All that the work on the whole of a job needs: the jobs before it, its checkpoint, its finished blocks and, if a
        function of the user returns its model, the result that it has. `noticed` is told of what is damaged.
        """
        finished = list(job.needs)
        if job.calls_function and self._store.has(job.id, job.digest, also=job.also):
            finished.append(job.id)
        return Parcel(self.needs(finished), self._checkpoint(job, noticed), self._blocks(job, noticed))

    def _checkpoint(self, job: Job, noticed: Callable[[str], None]) -> SentCheckpoint | None:
        try:
            saved = self._store.load_checkpoint(job.id, job.digest) if job.kind == "train" else None
        except StoreError as error:
            noticed(f"training starts again: {error}")
            return None
        if saved is None:
            return None
        return SentCheckpoint(
            saved.epoch, dict(saved.meta), {name: self._put(as_array(content)) for name, content in saved.files.items()}
        )

    def _blocks(self, job: Job, noticed: Callable[[str], None]) -> dict[int, SentBlock]:
        blocks: dict[int, SentBlock] = {}
        for number in self._store.block_numbers(job.id):
            try:
                block, stamp = self._store.stamped_block(job.id, number)
            except StoreError as error:
                noticed(f"block {number} is made again: {error}")
                continue
            blocks[number] = SentBlock(stamp, block.facts, self._put(as_array(block.content)))
        return blocks

    def _file(self, job: str, name: str, result: Mapping[str, Any]) -> Reference:
        known = result["files"][name]
        if known not in self._kept:
            content = as_array(self._store.read(job, name, result))
            self._kept[known] = self._put(content), content.nbytes
        self._kept.move_to_end(known)
        while sum(size for _, size in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return self._kept[known][0]
