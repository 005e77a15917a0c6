"""The leaderboard derived anew from the labels, by the functions that made it, and where it is another one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.game_maker import make_games
from robuststack.leaderboard.row_maker import make_rows
from robuststack.leaderboard.training_curves import training_curves
from robuststack.plan.plan import Plan
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store

LAST_DIGIT = 1e-4
"""Leaderboards hold figures to four decimals: another processor may round the last one otherwise."""


def derived_board(plan: Plan, results: Mapping[str, dict[str, Any]], jobs: Store, board: Board) -> Board:
    """The leaderboard that the labels of a plan's jobs come to; what plugins added to a row, `extra`, is `board`'s."""
    outcome = Outcome(dict(results))
    added = {row.label: row.extra for row in board.rows}
    rows = [row.model_copy(update={"extra": added.get(row.label, {})}) for row in make_rows(plan, outcome, jobs)]
    return make_board(
        plan,
        rows,
        board_labels.collect(rows, jobs, results),
        complete=plan.complete,
        training=training_curves(plan, outcome),
        suite_file=board.suite_file,
        games=make_games(plan, outcome, jobs),
    )


def board_changes(board: Board, derived: Board) -> list[str]:
    """What a leaderboard says otherwise than its jobs do, a line each."""
    said, derived_said = (json.loads(board_json(each)) for each in (board, derived))
    for each in (said, derived_said):
        each["rows"] = {row["label"]: row for row in each["rows"]}
    return list(changes(said, derived_said, "the leaderboard", "its jobs"))


def changes(first: Any, second: Any, first_name: str, second_name: str, path: str = "") -> Iterator[str]:
    """Where JSON data differ, a line each; numbers agree if they are at most `LAST_DIGIT` apart."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            inside = f"{path}.{key}" if path else key
            if key in first and key in second:
                yield from changes(first[key], second[key], first_name, second_name, inside)
            else:
                yield f"{inside} is in {first_name if key in first else second_name} alone"
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for place, pair in enumerate(zip(first, second, strict=True)):
            yield from changes(*pair, first_name, second_name, f"{path}.{place}")
    elif not _agree(first, second):
        yield f"{path} is {_short(first)} in {first_name} and {_short(second)} by {second_name}"


def _agree(first: Any, second: Any) -> bool:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, second)):
        return bool(abs(first - second) <= 1.01 * LAST_DIGIT)
    return type(first) is type(second) and first == second


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
