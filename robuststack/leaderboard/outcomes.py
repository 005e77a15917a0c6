"""Per-sample outcomes of a leaderboard's attack jobs, in one file beside it: anyone can test rows against each other."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.row import Row
from robuststack.running.atomic_files import write_bytes
from robuststack.running.store import Store


def collect(
    rows: Iterable[Row], store: Store, results: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, np.ndarray]:
    """The outcomes behind the rows as the store keeps them: job -> uint8 [draws, ceil(n / 8)], a bit an image.

    Raises:
        StoreError: they are not those of `results`, which the rows were made from.
    """
    jobs = dict.fromkeys(job for row in rows for job in row.jobs.scored())
    content = {job: store.read(job, "outcomes.npy", (results or {}).get(job)) for job in jobs}
    return {job: np.load(io.BytesIO(one), allow_pickle=False) for job, one in content.items()}


def path_of(board: Path) -> Path:
    """The file of outcomes beside a leaderboard's JSON file."""
    return board.with_suffix(".outcomes.safetensors")


def save(path: Path, outcomes: Mapping[str, np.ndarray]) -> None:
    """Write them, the same bytes for the same outcomes.

    Raises:
        StoreError: they cannot be written; what was there before is kept.
    """
    from safetensors.numpy import save as packed

    write_bytes(path, packed({job: np.ascontiguousarray(outcomes[job]) for job in sorted(outcomes)}))


def load(board: Path, rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """The outcomes beside a leaderboard: job -> bool [draws, n]; none where there is no such file.

    Raises:
        LeaderboardError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    path = path_of(board)
    if not path.is_file():
        return {}
    try:
        found = unpacked(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise LeaderboardError(f"{path} cannot be read as per-sample outcomes: {error}") from None
    counts = {job: row.n for row in rows for job in row.jobs.scored()}
    return {
        job: np.unpackbits(bits, axis=1, count=counts[job]).astype(bool) for job, bits in found.items() if job in counts
    }
