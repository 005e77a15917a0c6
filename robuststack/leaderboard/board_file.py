"""The files of a leaderboard: JSON, which is the truth; Markdown and figures for reading; the labels beside them."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robuststack.errors import LeaderboardError
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import BOARD_SCHEMA, Board, TrainingCurve, board_json
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.chosen_draws import draw_chosen
from robuststack.leaderboard.drawing import draw, file_name
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.game_drawing import draw_game
from robuststack.leaderboard.ladder_drawing import TITLE as LADDER_TITLE
from robuststack.leaderboard.ladder_drawing import draw_ladder, ladder_file
from robuststack.leaderboard.markdown import markdown
from robuststack.leaderboard.row import Row
from robuststack.plan.plan import Plan
from robuststack.plugin.options import first_problem
from robuststack.running.atomic_files import make_folder, write_text
from robuststack.suite.yaml_source import SUITE_FILES

AGAIN = "run its suite again to write it whole"


def claim(plan: Plan, folder: Path) -> None:
    """Make the folder and refuse, before any compute, to write over the leaderboard of another suite file of the same name.

    Raises:
        LeaderboardError: with both files.
        StoreError: the folder cannot be made.
    """
    make_folder(folder)
    path = folder / f"{plan.suite.name}.json"
    if not path.is_file():
        return
    # Not `read_board`: a leaderboard that lacks a figure is what its suite is run again for.
    content = _content(_text(path, str(path)), str(path))
    written = content.get("suite_file") if isinstance(content, dict) else None
    if not isinstance(written, str):
        raise LeaderboardError(f"{path} is not a leaderboard written by robuststack; use another --leaderboard")
    own = suite_place(plan, folder)
    if written != own:
        raise LeaderboardError(
            f"{path} is the leaderboard of {written}, and {own} is named {plan.suite.name!r} too; give one of them another"
            " `name:`, or use another --leaderboard"
        )


def read_board(path: Path, name: str | None = None) -> Board:
    """A leaderboard file; `name` is what errors call it if the user named it otherwise.

    Raises:
        LeaderboardError: it is not one, of another layout, or something in it is missing or wrong: what, and in which row.
    """
    name = name or str(path)
    if path.suffix in SUITE_FILES:
        raise LeaderboardError(
            f"{name} is a suite; name its leaderboard, such as {path.stem}, or the leaderboard's JSON file"
        )
    text = _text(path, name)
    content = _content(text, name)
    written = content.get("schema") if isinstance(content, dict) else None
    if type(written) is not int or not isinstance(content.get("rows"), list):
        raise LeaderboardError(f"{name} is not a leaderboard written by robuststack")
    if written != BOARD_SCHEMA:
        remedy = "upgrade robuststack" if written > BOARD_SCHEMA else "run its suite again"
        raise LeaderboardError(f"{name} has schema {written}, this version reads {BOARD_SCHEMA}: {remedy}")
    try:
        return Board.model_validate_json(text)
    except ValidationError as error:
        raise LeaderboardError(f"{name}: {_problem(error, content)}; {AGAIN}") from None


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LeaderboardError(f"{name} cannot be read as a leaderboard: {error}") from None


def _content(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LeaderboardError(f"{name} cannot be read as a leaderboard: {error}") from None


def _problem(error: ValidationError, content: Mapping[str, Any]) -> str:
    """The first problem; one inside a row is told with the row's label."""
    for position, row in enumerate(content["rows"]):
        label = row.get("label") if isinstance(row, dict) else None
        try:
            Row.model_validate_json(json.dumps(row))
        except ValidationError as inner:
            if not isinstance(row, dict):
                return f"row {position + 1} is not a row"
            return f"{label or f'row {position + 1}'}: {first_problem(Row, inner, row)}"
    return str(first_problem(Board, error, content))


def write_board(
    plan: Plan,
    rows: Sequence[Row],
    per_sample: Mapping[str, board_labels.Labels],
    folder: Path,
    training: Mapping[str, TrainingCurve] | None = None,
    games: Sequence[Game] = (),
) -> list[Path]:
    """Write the JSON and Markdown files, the figures, and the labels (`board_labels.collect`); `training` are the
    curves of the train jobs (`training_curves`), `games` the knobs that were played (`make_games`).

    A plan of which rows are missing goes to `<suite>.partial.*`, so that a full leaderboard stays; a full one replaces it.

    Raises:
        StoreError: they cannot be written; the old ones are kept.
    """
    complete = plan.complete and len(rows) == len(plan.rows)
    stem = plan.suite.name if complete else f"{plan.suite.name}.partial"
    board = make_board(
        plan,
        rows,
        per_sample,
        complete=complete,
        training=training,
        suite_file=suite_place(plan, folder),
        games=games,
    )
    json_path, markdown_path = folder / f"{stem}.json", folder / f"{stem}.md"
    drawings = {file_name(stem, drawing): draw(drawing, rows) for drawing in plan.suite.figures}
    pictures = {name: content for name, content in drawings.items() if content is not None}
    titles = {file_name(stem, drawing): drawing.title for drawing in plan.suite.figures}
    ladder = draw_ladder(rows)
    if ladder is not None:
        pictures[ladder_file(stem)], titles[ladder_file(stem)] = ladder, LADDER_TITLE
    for number, game in enumerate(games, 1):
        picture = f"{stem}.game-{number}.svg"
        pictures[picture], titles[picture] = draw_game(game), f"The knob of {game.title} as a game"
    chosen = draw_chosen(rows)
    if chosen is not None:
        pictures[f"{stem}.draws.svg"], titles[f"{stem}.draws.svg"] = (
            chosen,
            "The draws that were chosen for the attacks",
        )
    labels_path = board_labels.path_of(json_path)
    board_labels.save(labels_path, per_sample)
    write_text(json_path, board_json(board) + "\n")
    for name, content in pictures.items():
        write_text(folder / name, content.decode())
    write_text(markdown_path, markdown(board, {name: titles[name] for name in pictures}))
    if complete:
        for old in folder.glob(f"{glob.escape(plan.suite.name)}.partial.*"):
            if ".audit." not in old.name:  # Of some checks, which a whole leaderboard has not either.
                old.unlink(missing_ok=True)
    return [json_path, markdown_path, labels_path, *(folder / name for name in pictures)]


def suite_place(plan: Plan, folder: Path) -> str:
    """Where the suite's file lies, seen from the leaderboard's folder."""
    return Path(os.path.relpath(plan.suite.file.resolve(), folder.resolve())).as_posix()
