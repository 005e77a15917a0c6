"""A tiny suite, run as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import forked
import robuststack as rs
from forked import Forked
from robuststack.leaderboard.board_file import read_board

TINY_SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 60, size: 8, classes: 3, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 4, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: 1}}]
attacks: {name: pgd, options: {steps: 2}}
evaluate: {draws: 3}
measure: {latency: false}
precision: float32
"""
TIMINGS = {"latency_ms", "train_seconds_per_epoch"}


def script(suite: Path, *more: str, before: str = "") -> str:
    """`robuststack run` after the statements `before`."""
    arguments = [
        "run",
        str(suite),
        "--store",
        str(suite.parent / "store"),
        "--leaderboard",
        str(suite.parent / "board"),
    ]
    return f"{before}\nfrom robuststack.cli import main\nmain({[*arguments, *more]!r})"


def run(suite: Path, *more: str, before: str = "") -> Forked:
    """`robuststack run` as a process of its own."""
    return forked.run(script(suite, *more, before=before))


def figures(rows: Sequence[rs.Row]) -> str:
    """The rows without their timings, as text that is equal when every figure is."""
    return json.dumps([row.model_dump(mode="json", exclude=TIMINGS) for row in rows], sort_keys=True)


def board(suite: Path) -> list[rs.Row]:
    return list(read_board(suite.parent / "board" / "tiny.json").rows)
