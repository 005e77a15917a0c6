"""The command that runs a leaderboard again, or one row of it."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.row import Row
from robuststack.paths import LEADERBOARD
from robuststack.suite.live_suite import CALL
from robuststack.suite.single_model import COMMAND
from robuststack.suite.smoke import SUFFIX as SMOKE_SUFFIX
from robuststack.suite.yaml_source import SUITE_FILES


def command_line(board: Board, folder: Path, row: Row | None = None) -> str:
    """What ran the suite, or what runs one row of it, from the folder that the leaderboards' `folder` lies in."""
    if board.description.startswith(f"{CALL}("):  # A model of a program: only that program has it.
        return board.description
    if board.description.startswith(COMMAND):  # Without a suite file, its own words are what it was asked for.
        parts = shlex.split(board.description)
        return shlex.join([*parts, *_pinned(board, parts), "--device", board.device])
    if board.suite_file and PurePosixPath(board.suite_file).suffix not in SUITE_FILES:
        return "robuststack.run({...})"  # Its suite was a dictionary.
    suite = posixpath.normpath(posixpath.join(folder.resolve().name, board.suite_file or "SUITE.yaml"))
    parts = ["robuststack", "run", suite, *(part for override in board.overrides for part in ("--set", override))]
    parts += [*_pinned(board, board.overrides), "--device", board.device]
    parts += ["--smoke"] if board.suite.endswith(SMOKE_SUFFIX) else []
    return shlex.join([*parts, *(["--only", row.label] if row else [])])


def comparing(name: str, folder: Path) -> str:
    """The beginning of what compares two rows of the leaderboard `name`, from the folder that `folder` lies in."""
    place = folder.resolve().name
    beside = [] if place == LEADERBOARD else ["--leaderboard", place]
    return shlex.join(["robuststack", "leaderboard", "compare", name, *beside])


def _pinned(board: Board, told: Sequence[str]) -> list[str]:
    """The precision, which `auto` would choose anew on another machine: jobs of another one are other jobs."""
    return [] if any(word.startswith("precision=") for word in told) else ["--set", f"precision={board.precision}"]
