"""Which defenses were built on which architectures before, kept from one process to the next: building them needs torch,
whose import alone takes longer than all else that checking a suite does.

A pair is known by its options, the meaning of the code that builds it, and what is installed beside it. What could not be
built is not kept: it is tried again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from functools import cached_property

from robuststack.plan.kept_file import KeptFile
from robuststack.plan.pair import Pair
from robuststack.plan.source_digest import keep_meanings, source_digest

MOST = 5000
"""Pairs that are kept, those that were used last: a third of a megabyte."""
BUILDER = "robuststack.engine.buildable"
METADATA = (".dist-info", ".egg-info")


class KeptBuilds:
    """The pairs that were built without an error."""

    def __init__(self) -> None:
        self._file = KeptFile("builds", "", MOST)

    @cached_property
    def _kept(self) -> set[str]:
        return set(self._file.read())

    def __contains__(self, pair: Pair) -> bool:
        return self._key(pair) in self._kept

    def keep(self, built: Iterable[Pair]) -> None:
        """Keep the pairs that were built, beside those that are kept already."""
        self._file.write({self._key(pair): True for pair in built})
        keep_meanings()

    def _key(self, pair: Pair) -> str:
        classes = {base for part in (pair.architecture, pair.defense) for base in type(part).__mro__} - {object}
        code = source_digest([BUILDER, *sorted(base.__module__ for base in classes)])
        return hashlib.sha256(json.dumps([pair.key, code, self._installed]).encode()).hexdigest()

    @cached_property
    def _installed(self) -> list[str]:
        """The installed distributions with their versions: libraries bring networks, too."""
        names: set[str] = set()
        for folder in sys.path:
            with contextlib.suppress(OSError):
                names |= {name for name in os.listdir(folder or ".") if name.endswith(METADATA)}
        return sorted(names)
