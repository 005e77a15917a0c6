"""Whether a file is a leaderboard that this version can read: its shape, and every figure that readers rely on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from robuststack.errors import LeaderboardError

SCHEMA = 1
BOARD_KEYS = (
    "suite",
    "description",
    "overrides",
    "complete",
    "device",
    "precision",
    "attacks",
    "entries",
    "reference",
    "claims",
)
ROW_KEYS = (
    "label", "variant", "dataset", "dataset_options", "architecture", "architecture_options", "defense", "options", "shown",
    "point", "retrained", "threat", "protocol", "ca", "ra", "protocols", "stochastic", "n", "draws", "seeds", "attacks",
    "recipe", "precision", "parameters", "nonzero_parameters", "macs", "latency_ms", "train_seconds_per_epoch", "inspected",
    "checks", "versions", "machine", "jobs", "extra",
)  # fmt: skip
"""What every row has; readers rely on it."""
CHECKS = ("clipped", "not_finite", "state_kept", "gradients_zero", "gradients_not_finite")
AGAIN = "run its suite again to write it whole"


def checked(board: Any, name: str) -> dict[str, Any]:
    """The content of a leaderboard file, found whole; `name` is the file's.

    Raises:
        LeaderboardError: it is not one, of a newer schema, or something is missing: what, and in which row.
    """
    if not isinstance(board, dict) or not isinstance(board.get("rows"), list) or not _count(board.get("schema")):
        raise LeaderboardError(f"{name} is not a leaderboard written by robuststack")
    if board["schema"] > SCHEMA:
        raise LeaderboardError(f"{name} has schema {board['schema']}, this version reads {SCHEMA}: upgrade robuststack")
    for position, row in enumerate(board["rows"]):
        label = row.get("label") if isinstance(row, dict) else None
        for problem in _problems(row):
            raise LeaderboardError(f"{name}: {label or f'row {position + 1}'} {problem}; {AGAIN}")
    for key in BOARD_KEYS:
        if key not in board:
            raise LeaderboardError(f"{name} has no {key!r}; {AGAIN}")
    labels = [row["label"] for row in board["rows"]]
    for label in labels:
        if labels.count(label) > 1:
            raise LeaderboardError(f"{name}: {labels.count(label)} rows are named {label!r}; {AGAIN}")
    return board


def _problems(row: Any) -> Iterator[str]:
    """What is wrong with a row, the first thing first; what follows may rely on what was right before."""
    if not isinstance(row, dict):
        yield "is not a row"
        return
    yield from (f"has no {key!r}" for key in ROW_KEYS if key not in row)
    yield from (f"has {key} {row[key]!r}, not a count" for key in ("n", "parameters", "macs") if not _count(row[key]))
    scores = {"": row, **{f"protocols.{name}.": one for name, one in _mapping(row["protocols"]).items()}}
    for prefix, score in scores.items():
        yield from _figures(prefix, score)
    yield from (f"has no {f'threat.{key}'!r}" for key in ("norm", "eps") if key not in _mapping(row["threat"]))
    yield from (f"has no {f'seeds.{key}'!r}" for key in ("train", "attack") if key not in _mapping(row["seeds"]))
    yield from (f"has no {f'checks.{key}'!r}" for key in CHECKS if key not in _mapping(row["checks"]))
    for batch, timed in _mapping(row["latency_ms"]).items():
        for key in ("median", "low", "high"):
            if not _number(_mapping(timed).get(key)):
                yield f"has no number at {f'latency_ms.{batch}.{key}'!r}"
    for protocol, score in {row["protocol"]: row, **_mapping(row["protocols"])}.items():
        jobs = _mapping(_mapping(row["jobs"]).get(protocol))
        attacks = (key for key in _mapping(_mapping(score).get("ra")) if key != "worst")
        yield from (f"has no jobs of {key!r}" for key in ("ca", *attacks) if not _mapping(jobs.get(key)))


def _figures(prefix: str, score: Any) -> Iterator[str]:
    """Accuracies that lack a number, hand-edited ones too."""
    found = {"ca": _mapping(score).get("ca")}
    ra = _mapping(_mapping(score).get("ra"))
    found |= {f"ra.{name}": one for name, one in {"worst": None, **ra}.items()}
    for key, figure in found.items():
        if not isinstance(figure, Mapping):
            yield f"has no figure at {prefix + key!r}"
            return
        for part in ("value", "low", "high"):
            if not _number(figure.get(part)):
                yield f"has no number at {f'{prefix}{key}.{part}'!r}"


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)


def _count(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0
