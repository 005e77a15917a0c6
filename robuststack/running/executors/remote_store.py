"""The store as a worker of a cluster sees it: what came with the job is there, and what the job makes goes home."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import StoreError
from robuststack.running.executors.parcel import (
    BlockMade,
    BlocksWorthless,
    CheckpointMade,
    Event,
    Parcel,
    Reference,
    ResultMade,
    as_array,
)
from robuststack.running.store import Block, Checkpoint


class RemoteStore:
    """A `JobStore` without a disk. One job at a time is worked on: its parcel is opened before.

    `fetch` gives the content that a reference stands for, and `send` takes what is to go home.
    """

    def __init__(self, fetch: Callable[[Reference], Any], send: Callable[[Event], None]) -> None:
        self._fetch = fetch
        self._send = send
        self._parcel = Parcel()
        self._made: dict[int, tuple[Block, Mapping[str, Any]]] = {}
        """The blocks that the job has made here, each with its stamp: its result is put together from them."""

    def open(self, parcel: Parcel) -> None:
        """Have what this parcel holds, and nothing else."""
        self._parcel = parcel
        self._made = {}

    def folder(self, job: str) -> Path:
        return Path(job)

    def has(self, job: str, digest: str, also: Sequence[str] = ()) -> bool:
        sent = self._parcel.finished.get(job)
        return sent is not None and sent.result["digest"] == digest and all(name in sent.files for name in also)

    def result(self, job: str) -> dict[str, Any]:
        """The result of a job that came along.

        Raises:
            StoreError: it did not.
        """
        sent = self._parcel.finished.get(job)
        if sent is None:
            raise StoreError(f"job {job} was not sent along")
        return dict(sent.result)

    def read(self, job: str, name: str, result: Mapping[str, Any] | None = None) -> bytes:
        """One file of a job that came along, verified.

        Raises:
            StoreError: it did not come, or not as the job wrote it.
        """
        expected = self.result(job)["files"].get(name)
        sent = self._parcel.finished[job].files
        content = bytes(self._fetch(sent[name])) if name in sent else b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise StoreError(f"{name} of {job} did not arrive as the job wrote it (its hash differs)")
        return content

    def finish(self, job: str, result: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        # Plain data: what torch calls a version, say, would import torch where it arrives.
        plain = json.loads(json.dumps(result))
        self._send(ResultMade(plain, {name: as_array(content) for name, content in files.items()}))
        return {**plain, "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}}

    def blocks(
        self, job: str, stamp: Mapping[str, Any], noticed: Callable[[str], None] = lambda text: None
    ) -> dict[int, dict[str, Any]]:
        kept: dict[int, dict[str, Any]] = {}
        for number, block in self._parcel.blocks.items():
            if block.stamp == dict(stamp):
                kept[number] = block.facts
            else:
                noticed(f"block {number} is made again: it was computed with another source code, model or images")
        return {**kept, **{number: block.facts for number, (block, of) in self._made.items() if of == dict(stamp)}}

    def read_block(self, job: str, number: int, stamp: Mapping[str, Any]) -> Block:
        if number in self._made:
            return self._made[number][0]
        block = self._parcel.blocks[number]
        return Block(number, bytes(self._fetch(block.content)), block.facts)

    def save_block(self, job: str, block: Block, stamp: Mapping[str, Any]) -> None:
        self._made[block.number] = block, dict(stamp)
        self._send(BlockMade(block.number, as_array(block.content), block.facts, dict(stamp)))

    def discard_blocks(self, job: str) -> None:
        self._made = {}
        self._send(BlocksWorthless())

    def load_checkpoint(self, job: str, digest: str) -> Checkpoint | None:
        sent = self._parcel.checkpoint
        if sent is None or sent.meta.get("digest") != digest:
            return None
        files = {name: bytes(self._fetch(reference)) for name, reference in sent.files.items()}
        return Checkpoint(sent.epoch, files, sent.meta, Path("checkpoints"))

    def save_checkpoint(self, job: str, epoch: int, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> None:
        # As it is now: training goes on, and adds to its history.
        said = json.loads(json.dumps(meta))
        self._send(CheckpointMade(epoch, {name: as_array(content) for name, content in files.items()}, said))
