"""Files that data sets fetch: whole and verified or not there at all, and one error when they cannot be had."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tarfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import robuststack as rs

T = TypeVar("T")


def obtain(dataset: rs.Dataset, folder: Path, opened: Callable[[], T]) -> T:
    """`opened()`, after fetching and unpacking what `dataset` declares where that is absent or damaged.

    `opened` raises RuntimeError, as torchvision does, where a file is not what its hash says.

    Raises:
        DatasetError: with what was tried, where to put the file by hand, and its hash.
    """
    with contextlib.suppress(RuntimeError):
        return opened()
    for archive in fetch(dataset, folder):
        _unpack(dataset, archive)
    try:
        return opened()
    except RuntimeError as error:
        raise rs.DatasetError(
            f"dataset {dataset.name!r}: its files in {folder} are not the known ones: {error}"
        ) from None


def fetch(dataset: rs.Dataset, folder: Path) -> list[Path]:
    """Where the files of `dataset.downloads()` are, each verified, and downloaded where it was not.

    Raises:
        DatasetError: with what was tried, where to put the file by hand, and its hash.
    """
    from filelock import FileLock

    targets = []
    for file in dataset.downloads():
        target = folder / file.path
        flaw = _flaw(target, file.hash)
        if flaw:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                # Two runs that share the folder download once.
                with FileLock(target.with_name(f".{target.name}.lock")):
                    if _flaw(target, file.hash):
                        _download(file, target)
            except (OSError, RuntimeError, HTTPException) as error:
                raise rs.DatasetError(
                    f"dataset {dataset.name!r} is not in {folder} ({target.name} {flaw}) and could not be downloaded from"
                    f" {file.url} ({type(error).__name__}: {error}); put the file at {target} ({file.hash}) and run again"
                ) from None
        targets.append(target)
    return targets


def _download(file: rs.Download, target: Path) -> None:
    from torchvision.datasets.utils import download_url

    with TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        # torchvision prints; the progress of a run goes to standard output, so this goes to standard error.
        with contextlib.redirect_stdout(sys.stderr):
            download_url(file.url, scratch, target.name)
        arrived = Path(scratch, target.name)
        flaw = _flaw(arrived, file.hash)
        if flaw:
            raise OSError(f"what arrived {flaw}")
        os.replace(arrived, target)


def _flaw(path: Path, expected: str) -> str:
    """What is wrong with a file whose hash should be `expected` (`algorithm:hex`), as the end of "the file ..."; empty
    where nothing is."""
    if not path.is_file():
        return "is not there"
    algorithm = expected.partition(":")[0]
    with path.open("rb") as file:
        # Not for security: a strict machine refuses MD5 otherwise.
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
        if f"{algorithm}:{digest}" == expected:
            return ""
        file.seek(0)
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page"
    return f"is another file: {path.stat().st_size} bytes, {algorithm}:{digest}"


def _unpack(dataset: rs.Dataset, archive: Path) -> None:
    """Put the files of a tar archive beside it, each whole; leave any other file alone."""
    from torchvision.datasets.utils import extract_archive

    try:
        if not tarfile.is_tarfile(archive):
            return
        with TemporaryDirectory(dir=archive.parent, prefix=".unpack-") as scratch:
            extract_archive(archive, scratch)
            for path in [member for member in Path(scratch).rglob("*") if member.is_file()]:
                target = archive.parent / path.relative_to(scratch)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise rs.DatasetError(f"dataset {dataset.name!r}: {archive} could not be unpacked ({reason})") from None
