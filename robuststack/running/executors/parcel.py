"""What travels between the run and a worker of a cluster: what a job needs goes out, what it makes comes home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robuststack.errors import JobFailed
from robuststack.plan.job import Job

Reference = Any
"""Stands for the content of a file, which a worker fetches when it reads it: an `ObjectRef` of Ray."""


@dataclass(frozen=True)
class SentJob:
    """A finished job, as those that need it see it."""

    result: Mapping[str, Any]
    files: Mapping[str, Reference]


@dataclass(frozen=True)
class SentCheckpoint:
    """The state after the last finished epoch."""

    epoch: int
    meta: Mapping[str, Any]
    files: Mapping[str, Reference]


@dataclass(frozen=True)
class SentBlock:
    """A finished block, with what it was computed with (`stamp`)."""

    stamp: Mapping[str, Any]
    facts: dict[str, Any]
    content: Reference


@dataclass(frozen=True)
class Parcel:
    """All that the work on a job needs of the store: the jobs before it, and what is finished of itself."""

    finished: Mapping[str, SentJob] = field(default_factory=dict)
    checkpoint: SentCheckpoint | None = None
    blocks: Mapping[int, SentBlock] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a worker is asked to do: the whole job, or some of its blocks, or, without a job, to prepare."""

    parcel: Parcel
    job: Job | None = None
    blocks: tuple[int, ...] = ()
    retries: int = 0
    """Those of the job when it was asked."""
    pending: tuple[Job, ...] = ()
    """To prepare for, with the finished train jobs `done`."""
    done: tuple[Job, ...] = ()


class Event:
    """What a worker tells of its work."""


@dataclass(frozen=True)
class Reported(Event):
    """One of the lifecycle's hooks is to be called."""

    hook: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Logged(Event):
    """A note on data or models."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class CheckpointMade(Event):
    epoch: int
    files: Mapping[str, np.ndarray]
    """Bytes, uint8 [N]: they are not copied on their way into Ray's memory and out of it."""
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class BlockMade(Event):
    number: int
    content: np.ndarray
    facts: dict[str, Any]
    stamp: Mapping[str, Any]


@dataclass(frozen=True)
class BlocksWorthless(Event):
    """The finished blocks of the job are to be deleted."""


@dataclass(frozen=True)
class ResultMade(Event):
    result: Mapping[str, Any]
    files: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Over(Event):
    """The work is done. `outcome` is the job's result, why it failed, what cannot be prepared, or, of blocks, None."""

    outcome: Mapping[str, Any] | JobFailed | None = None


@dataclass(frozen=True)
class Broken(Event):
    """Something that concerns the whole run."""

    error: Exception


def as_array(content: bytes) -> np.ndarray:
    """The same memory, as an array that travels without a copy."""
    return np.frombuffer(content, np.uint8)
