"""Whole rows for tests that need only some of one, and copies of records with a change."""

from __future__ import annotations

from typing import Any, TypeVar

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.record import Record
from robuststack.leaderboard.row import Figure, Row


def make_figure(value: float) -> Figure:
    """An accuracy with an interval of a point to either side."""
    return Figure(value=value, low=max(value - 1, 0), high=min(value + 1, 100), interval="wilson")


def make_row(**changes: Any) -> Row:
    """A deterministic row of one attack, with some of its keys changed."""
    accuracies = {"ca": make_figure(90), "ra": {"PGD-20": make_figure(52), "worst": make_figure(50)}}
    content: dict[str, Any] = {
        "label": "digits/resnet8/none", "variant": ["digits", "resnet8"], "dataset": "digits", "dataset_options": {},
        "split": "test", "architecture": "resnet8", "architecture_options": {}, "defense": "none", "undefended": True,
        "options": {}, "shown": {}, "point": {}, "retrained": [], "threat": {"norm": "linf", "eps": 0.1}, "recipe": None,
        "user_model": None, "dataset_notes": [], "classes": [], "limit": None, "limit_rule": None, "block": 500,
        "device": "cpu", "precision": "float32", "stochastic": False, "protocol": "adaptive",
        **accuracies, "attacks": {"PGD-20": {"steps": 20}}, "protocols": {}, "inapplicable": {}, "gaps": {},
        "n": 100, "draws": 1,
        "seeds": {"train": [0], "attack": [0]}, "parameters": 10, "nonzero_parameters": 10, "macs": 100, "latency_ms": {},
        "train_seconds_per_epoch": None, "inspected": {}, "layers": {},
        "effort": {"epochs": [], "steps": [], "calls": {"PGD-20": 20}, "table_draws": 0},
        "versions": {"robuststack": "0", "python": "3", "torch": "2", "numpy": "2"},
        "checks": {"clipped": 0.0, "not_finite": 0, "state_kept": True, "gradients_zero": 0.0, "gradients_not_finite": 0.0},
        "machine": {"device": "a processor", "threads": "1", "workers": "1"},
        "jobs": {"train": {}, "measure": "measure-0", "attacks": {}, "scores": {}}, "extra": {},
        **changes,
    }  # fmt: skip
    if not content["jobs"]["scores"]:
        attacks = [label for label in content["ra"] if label != "worst"]
        content["jobs"]["scores"] = {
            protocol: {figure: {"0/0": f"judge-{figure}"} for figure in ("ca", *attacks)}
            for protocol in (content["protocol"], *content["protocols"])
        }
        content["jobs"]["attacks"] = {f"judge-{label}": f"attack-{label}" for label in attacks}
    return Row.model_validate(content, strict=False)


R = TypeVar("R", bound=Record)


def changed(record: R, **changes: Any) -> R:
    """A copy of a record with some of its keys changed, unchecked."""
    return record.model_copy(update=changes)


def with_row(board: Board, position: int, **changes: Any) -> Board:
    """A copy of a leaderboard with some keys of one row changed."""
    rows = list(board.rows)
    rows[position] = changed(rows[position], **changes)
    return changed(board, rows=tuple(rows))
