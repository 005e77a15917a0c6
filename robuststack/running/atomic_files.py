"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from robuststack.errors import StoreError

Content = bytes | memoryview


def _remove(*folders: Path) -> None:
    """Delete folders under a name that means nothing, so that a kill halfway leaves none that looks whole."""
    for folder in folders:
        if folder.exists():
            dead = folder.with_name(f"partial-{os.getpid()}-{folder.name}")
            with contextlib.suppress(OSError):
                folder.rename(dead)
                shutil.rmtree(dead, ignore_errors=True)


def _write(path: Path, content: Content) -> None:
    """Write and force to disk, so that a rename after it never names an empty file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: Content) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write(partial, content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in one move.

    Raises:
        StoreError: it cannot be written; what was there before is kept.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one move.

    Raises:
        StoreError: it cannot be written; what was there before is kept.
    """
    with _writing(path), uninterrupted():
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written piece by piece: it appears under its name when the block is done, and not at all if it fails.

    Raises:
        StoreError: it cannot be written; what was there before is kept.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        StoreError: it cannot be made, or is a file.
    """
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _writing(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {where}: {error.strerror or error}; what was finished before is kept, and the next run goes on"
        ) from None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught and callable(before):
            before(*caught[0])
