"""Data sets that torchvision downloads and checks: one way to fetch them, one error when they cannot be had."""

from __future__ import annotations

import contextlib
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import robuststack as rs

T = TypeVar("T")


def obtain(dataset: rs.Dataset, folder: Path, opened: Callable[[bool], T]) -> T:
    """`opened(False)` where the verified files are there, else `opened(True)`, which downloads them.

    Raises:
        DatasetError: with what was tried, where to put the file by hand, and its hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(RuntimeError):  # Absent, or not what its hashes say.
        return opened(False)
    try:
        # torchvision prints; the progress of a run goes to standard output, so this goes to standard error.
        with contextlib.redirect_stdout(sys.stderr):
            return opened(True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        file = dataset.downloads()[0]
        target = folder / file.path
        raise rs.DatasetError(
            f"dataset {dataset.name!r} is not in {folder} and could not be downloaded from {file.url}"
            f" ({type(error).__name__}: {error}); put the file at {target} ({file.hash}) and run again"
        ) from None
