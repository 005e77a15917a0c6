"""The leaderboard derived anew from the labels, by the functions that made it, and where it is another one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from robuststack.evidence.game import is_pure, settled
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.game_maker import make_games
from robuststack.leaderboard.row_maker import make_rows
from robuststack.leaderboard.training_curves import training_curves
from robuststack.plan.job import LABELS, Job
from robuststack.plan.plan import Plan
from robuststack.plan.played import model_game
from robuststack.plan.specs import GameSpec, JudgeSpec
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store

LAST_DIGIT = 1e-4
"""Leaderboards hold figures to four decimals: another processor may round the last one otherwise."""
GIVEN = ("attacks", "architecture_options", "dataset_options", "options", "point", "recipe", "shown", "suite", "threat")
"""Keys below which numbers are those of the suite, and no figures: they are equal or they differ."""


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


def job_changes(planned: Iterable[Job], results: Mapping[str, Mapping[str, Any]], jobs: Store) -> list[str]:
    """What jobs say of their own labels otherwise than these do, a line each: accuracies, and the worth of games."""
    lines: list[str] = []
    for job in planned:
        result = results[job.id]
        if isinstance(job.spec, JudgeSpec):
            judged = board_labels.read_labels(jobs, job.id, result)
            derived: dict[str, Any] = {"accuracy": 100 * float(judged.correct.mean()), "n": len(judged.truth)}
        elif isinstance(job.spec, GameSpec):
            derived = _game(job.spec, job.id, result, results, jobs)
        else:
            continue
        lines += changes({key: result[key] for key in derived}, derived, "its result", "its labels", job.id)
    return lines


def _game(
    spec: GameSpec, job: str, result: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], jobs: Store
) -> dict[str, Any]:
    """What the labels of a game's jobs and rounds come to."""
    from safetensors.numpy import load

    game = model_game(spec, {judge: load(jobs.read(judge, LABELS, results[judge])) for judge in spec.judged})
    kept = load(jobs.read(job, LABELS, result))
    values = [float(game.hidden(game.mixtures()).mean())]
    for number in range(1, len(result["rounds"]) + 1):
        game = game.with_row([kept[f"{number}/{place}"] for place in range(len(spec.settings))])
        values.append(float(game.hidden(game.mixtures()).mean()))
    ended = is_pure(game.mixtures()) or settled(values)
    return {"n": len(game.truth), "values": values, "upper_bound": not ended}


def board_changes(board: Board, derived: Board, names: tuple[str, str] = ("the leaderboard", "its jobs")) -> list[str]:
    """What a leaderboard says otherwise than its jobs, or another leaderboard, do, a line each."""
    said, derived_said = (json.loads(board_json(each)) for each in (board, derived))
    for each in (said, derived_said):
        each["rows"] = {row["label"]: row for row in each["rows"]}
    return list(changes(said, derived_said, *names))


def changes(first: Any, second: Any, first_name: str, second_name: str, path: str = "") -> Iterator[str]:
    """Where JSON data differ, a line each; figures agree if they are at most `LAST_DIGIT` apart."""
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
    elif not (first == second if set(path.split(".")) & set(GIVEN) else _agree(first, second)):
        yield f"{path} is {_short(first)} in {first_name} and {_short(second)} by {second_name}"


def _agree(first: Any, second: Any) -> bool:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, second)):
        return bool(abs(first - second) <= 1.01 * LAST_DIGIT)
    return type(first) is type(second) and first == second


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
