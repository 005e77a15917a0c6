"""Paths as users write them, and the folders a run uses where the user names none."""

from __future__ import annotations

import os
from pathlib import Path

from robuststack.errors import RobustStackError

STORE = ".robuststack"
LEADERBOARD = "leaderboard"
GONE = "the working directory does not exist any more; change to another one"
LONGEST_PART = 255
"""How many bytes a name between two slashes may have: file systems take no more."""
HOMELESS = "robuststack-data"
"""The data folder of a user who has no home, in the working directory."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as a user writes it, with `~` and `~user` replaced; relative ones stay so.

    Raises:
        RobustStackError: there is no such home folder, or nothing can have such a name.
    """
    try:
        whole = Path(path).expanduser()
    except TypeError:
        raise RobustStackError(f"{path!r} is no file or folder; valid: a path, as text or a pathlib.Path") from None
    except RuntimeError:
        raise RobustStackError(
            f"{path}: there is no home folder that `~` could stand for; write the whole path"
        ) from None
    if "\0" in str(whole):
        raise RobustStackError(f"{str(path)!r} is no file or folder: no name holds the sign NUL")
    return whole


def absolute(path: str | os.PathLike[str]) -> Path:
    """The same, from the root: it stays the same place when a user's module calls `os.chdir`.

    Raises:
        RobustStackError: there is no such home folder, the working directory was deleted, or no file can have such a name.
    """
    try:
        place = expanded(path).absolute()
    except FileNotFoundError:
        raise RobustStackError(GONE) from None
    for part in place.parts:
        if len(part.encode(errors="replace")) > LONGEST_PART:
            raise RobustStackError(f"{part[:20]!r}... is no file or folder: no name has more than {LONGEST_PART} bytes")
    return place


def data_folder() -> Path:
    """Where downloaded data sets lie: $ROBUSTSTACK_DATA, or `robuststack/data` in the user's cache folder."""
    own = os.environ.get("ROBUSTSTACK_DATA")
    if own:
        return absolute(own)
    cache = cache_folder()
    # A container's user without a home: only downloads need a place at all.
    return cache / "data" if cache else absolute(HOMELESS)


def cache_folder() -> Path | None:
    """`robuststack` in the user's cache folder; None for a user without a home."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return absolute(cache or Path.home() / ".cache") / "robuststack"
    except RuntimeError:
        return None
