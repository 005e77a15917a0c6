"""What source files mean, kept from one process to the next: reading the syntax of a hundred files takes longer than all
else that planning a suite does.

A file is known by its content.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from robuststack.plan import meaning
from robuststack.plan.kept_file import KeptFile
from robuststack.plan.meaning import Meaning

MOST = 1000
"""Files whose meaning is kept, those that were used last: half a megabyte."""
Record = list[Any]
"""The fields of a meaning."""


class KeptMeanings:
    """The meanings of files by the hash of their content, as they were kept when they were first asked for, with those that
    this process adds."""

    def __init__(self) -> None:
        # The code that reads a file decides what it means, too.
        self._file = KeptFile("meanings", hashlib.sha256(Path(meaning.__file__).read_bytes()).hexdigest(), MOST)
        self._kept: dict[str, Record] = self._file.read()
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
        if self._added:
            self._file.write({key: _record(known) for key, known in self._used.items()})
            self._added = False


def _record(known: Meaning) -> Record:
    return [known.hash, known.modules, known.members, known.public]


def _meaning(record: Record) -> Meaning:
    digest, modules, members, public = record
    return Meaning(digest, tuple(modules), tuple((base, tuple(names)) for base, names in members), tuple(public))
