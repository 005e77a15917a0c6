"""What a job needs of the store that it is run with: the results before it, its checkpoints and blocks, and a place for
what it makes. The store on disk is one; a worker of a cluster has another, which sends home what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from robuststack.running.store import Block, Checkpoint


class JobStore(Protocol):
    """See `Store`, whose methods these are."""

    def folder(self, job: str) -> Path:
        """Where a job's files lie, for errors about them."""

    def has(self, job: str, digest: str, also: Sequence[str] = ()) -> bool:
        """Whether the job is done, by the same source code, with all its files, `also` named ones among them."""

    def result(self, job: str) -> dict[str, Any]:
        """The result of a finished job."""

    def read(self, job: str, name: str, result: Mapping[str, Any] | None = None) -> bytes:
        """One file of a finished job, verified."""

    def finish(self, job: str, result: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Store a job's files and its result, which is returned as stored."""

    def blocks(
        self, job: str, stamp: Mapping[str, Any], noticed: Callable[[str], None] = ...
    ) -> dict[int, dict[str, Any]]:
        """The facts of the finished blocks of a job, by number."""

    def read_block(self, job: str, number: int, stamp: Mapping[str, Any]) -> Block:
        """One finished block."""

    def save_block(self, job: str, block: Block, stamp: Mapping[str, Any]) -> None:
        """Keep a finished block."""

    def discard_blocks(self, job: str) -> None:
        """Delete the finished blocks of a job."""

    def load_checkpoint(self, job: str, digest: str) -> Checkpoint | None:
        """The last whole checkpoint that the same source code wrote."""

    def save_checkpoint(self, job: str, epoch: int, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> None:
        """Keep the state after `epoch`."""
