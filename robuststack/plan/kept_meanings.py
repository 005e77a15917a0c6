"""What source files mean, kept from one process to the next in the user's cache folder: reading the syntax of a hundred
files takes longer than all else that planning a suite does.

A file is known by its content. Whatever is wrong with what was kept, or with keeping it, is as if nothing was kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.paths import cache_folder
from robuststack.plan import meaning
from robuststack.plan.meaning import Meaning
from robuststack.running.atomic_files import write_bytes

MOST = 1000
"""Files whose meaning is kept, those that were used last: half a megabyte."""
Record = list[Any]
"""The fields of a meaning."""


class KeptMeanings:
    """The meanings of files by the hash of their content, as they were kept when they were first asked for, with those that
    this process adds."""

    def __init__(self) -> None:
        self._path = _path()
        self._kept = _read(self._path)
        self._used: dict[str, Meaning] = {}
        self._added = False

    def of(self, text: bytes) -> Meaning:
        """The meaning of a source text.

        Raises:
            SyntaxError, ValueError, RecursionError: it is no Python that this version reads.
        """
        key = hashlib.sha256(text).hexdigest()
        if key not in self._used:
            record = self._kept.get(key)
            self._used[key] = Meaning.of(text) if record is None else _meaning(record)
            self._added |= record is None
        return self._used[key]

    def keep(self) -> None:
        """Keep what this process added, beside what others have kept meanwhile."""
        if not self._added or self._path is None:
            return
        others = {key: record for key, record in _read(self._path).items() if key not in self._used}
        used = {key: _record(known) for key, known in self._used.items()}
        _write(self._path, dict([*others.items(), *used.items()][-MOST:]))
        self._added = False


def _path() -> Path | None:
    """The file for this version of Python; None if there is no place for it."""
    with contextlib.suppress(RobustStackError):
        folder = cache_folder()
        return folder / "meanings" / f"{sys.implementation.cache_tag}.json" if folder else None
    return None


def _maker() -> str:
    """What decides what a meaning is, beside the file's content: the code that reads it, and Python."""
    return f"{hashlib.sha256(Path(meaning.__file__).read_bytes()).hexdigest()} {sys.version}"


def _read(path: Path | None) -> dict[str, Record]:
    if path is None:
        return {}
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
        if checksum.decode() != hashlib.sha256(content).hexdigest():
            return {}
        kept = json.loads(content)
        if kept["maker"] != _maker():
            return {}
        files: dict[str, Record] = kept["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files


def _record(known: Meaning) -> Record:
    return [known.hash, known.modules, known.members, known.public]


def _meaning(record: Record) -> Meaning:
    digest, modules, members, public = record
    return Meaning(digest, tuple(modules), tuple((base, tuple(names)) for base, names in members), tuple(public))


def _write(path: Path, files: dict[str, Record]) -> None:
    with contextlib.suppress(OSError, RobustStackError):
        content = json.dumps({"maker": _maker(), "files": files}).encode()
        write_bytes(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
