"""What a store holds, for comparing runs of one suite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robuststack.leaderboard.row import Row
from robuststack.running.sealed import SEAL, sealed_json, unsealed_json

TIMED = ("seconds", "epoch_seconds", "seconds_per_epoch", "block_seconds", "latency_ms", "machine", "retries")
"""What differs between runs of one job: times, and where it ran."""


def contents(store: Path) -> dict[str, Any]:
    """Every finished job by id: its result without times, with the hashes of its files."""
    jobs: dict[str, Any] = {}
    for path in sorted(store.glob("*/*/result.json")):
        result = json.loads(path.read_text())
        jobs[result["id"]] = {name: value for name, value in result.items() if name not in (*TIMED, SEAL)}
    return jobs


def untimed(row: Row) -> str:
    """A row without what was timed, and where, and how often a job was tried."""
    plain = row.model_copy(update={"effort": row.effort.model_copy(update={"retries": 0})})
    return plain.model_dump_json(exclude={"machine", "train_seconds_per_epoch", "latency_ms"})


def edit(path: Path, **changes: Any) -> None:
    """Let a result say something else, as if its job had written it."""
    path.write_bytes(sealed_json({**unsealed_json(path.read_bytes()), **changes}))
