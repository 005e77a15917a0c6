"""A leaderboard as a user names it: a file, a suite's name, or a file at a revision of the repository."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.audit_file import board_files, find_audit
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.comparison import LabelledRows
from robuststack.leaderboard.row import Row
from robuststack.paths import LEADERBOARD, expanded


def load_board(board: str | Path, *, leaderboard: str | Path = LEADERBOARD) -> Board:
    """The leaderboard in a JSON file, or that of a suite's name in the folder `leaderboard`.

    Raises:
        LeaderboardError: there is none, or the file is not one.
    """
    path = find_board(str(board), expanded(leaderboard))
    opened = read_board(path)
    opened._file = path
    return opened


def load_labels(board: Board | str | Path, *, leaderboard: str | Path = LEADERBOARD) -> dict[str, Labels]:
    """The labels behind a leaderboard: judge job -> what it predicted and what is true. `board` is what `load_board`
    takes or gave back.

    Raises:
        LeaderboardError: there is no such leaderboard, or no file of labels beside it, or it cannot be read.
    """
    path = board.file if isinstance(board, Board) else find_board(str(board), expanded(leaderboard))
    if path is None:
        raise LeaderboardError("this leaderboard was not read from a file: open it with load_board")
    beside = board_labels.path_of(path)
    if not beside.is_file():
        raise LeaderboardError(f"{path} has no labels beside it: {beside.name} is missing; run its suite again")
    return board_labels.load(path)


def find_board(name: str, folder: Path) -> Path:
    """The JSON file of a leaderboard, from its path or from its suite's name in `folder`.

    Raises:
        LeaderboardError: there is none; with those that are there.
    """
    if path := _file(name, folder):
        return path
    there = [path.stem for path in board_files(folder)]
    raise LeaderboardError(f"no leaderboard {name!r} in {folder}: {did_you_mean(name, there)}")


def _file(name: str, folder: Path) -> Path | None:
    places = (expanded(name), folder / f"{name}.json")
    with contextlib.suppress(OSError, ValueError):  # No file can have such a name.
        return next((path for path in places if path.is_file()), None)
    return None


def open_board(name: str, folder: Path) -> tuple[Board, dict[str, Labels]]:
    """A leaderboard and the labels beside it, none if there is no such file. `REVISION:PATH` reads both as git has them
    there.

    Raises:
        LeaderboardError: it cannot be read, or git does not have it.
    """
    revision, colon, inside = name.partition(":")
    if not colon or Path(name).is_file():
        path = find_board(name, folder)
        board = read_board(path)
        return board, board_labels.load(path)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "board.json")
        path.write_bytes(_at_revision(revision, inside))
        try:
            beside = board_labels.path_of(Path(inside)).as_posix()
            board_labels.path_of(path).write_bytes(_at_revision(revision, beside))
        except LeaderboardError:  # They were not committed: the figures can still be compared.
            board_labels.path_of(path).unlink(missing_ok=True)
        board = read_board(path, name)
        return board, board_labels.load(path)


def labelled_rows(name: str, folder: Path) -> LabelledRows:
    """The rows of a leaderboard with the labels and the audit beside it.

    Raises:
        LeaderboardError: one of them cannot be read, or git does not have the leaderboard.
    """
    board, labels = open_board(name, folder)
    return LabelledRows(board.rows, labels, audits_beside(name, folder, board.rows))


def audits_beside(name: str, folder: Path, rows: Sequence[Row]) -> dict[str, RowAudit]:
    """The audits of the rows of a leaderboard, by label: those of the file beside it. A leaderboard of another revision has
    none.

    Raises:
        LeaderboardError: the file is there and cannot be read.
    """
    path = _file(name, folder)
    return find_audit(path, rows) if path else {}


def _at_revision(revision: str, path: str) -> bytes:
    try:
        done = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, check=False)
    except OSError as error:
        raise LeaderboardError(f"{revision}:{path} needs git, which cannot be run: {error}") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise LeaderboardError(f"git has no {path} at revision {revision!r}: {reason}")
    return done.stdout
