"""A leaderboard as a user names it: a file, a suite's name, or a file at a revision of the repository."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from robuststack.errors import LeaderboardError, did_you_mean
from robuststack.leaderboard import outcomes
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.comparison import Outcomes
from robuststack.paths import expanded


def find_board(name: str, folder: Path) -> Path:
    """The JSON file of a leaderboard, from its path or from its suite's name in `folder`.

    Raises:
        LeaderboardError: there is none; with those that are there.
    """
    for path in (expanded(name), folder / f"{name}.json"):
        if path.is_file():
            return path
    there = [path.stem for path in folder.glob("*.json")]
    raise LeaderboardError(f"no leaderboard {name!r} in {folder}: {did_you_mean(name, there)}")


def open_board(name: str, folder: Path) -> tuple[Board, Outcomes]:
    """A leaderboard and its per-sample outcomes. `REVISION:PATH` reads the file as git has it there.

    Raises:
        LeaderboardError: it cannot be read, or git does not have it.
    """
    revision, colon, inside = name.partition(":")
    if not colon or Path(name).is_file():
        path = find_board(name, folder)
        board = read_board(path)
        return board, outcomes.load(path, board.rows)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "board.json")
        path.write_bytes(_at_revision(revision, inside))
        try:
            outcomes.path_of(path).write_bytes(_at_revision(revision, outcomes.path_of(Path(inside)).as_posix()))
        except LeaderboardError:  # They were not committed: the figures can still be compared.
            outcomes.path_of(path).unlink(missing_ok=True)
        board = read_board(path, name)
        return board, outcomes.load(path, board.rows)


def _at_revision(revision: str, path: str) -> bytes:
    try:
        done = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, check=False)
    except OSError as error:
        raise LeaderboardError(f"{revision}:{path} needs git, which cannot be run: {error}") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise LeaderboardError(f"git has no {path} at revision {revision!r}: {reason}")
    return done.stdout
