"""A file in the user's cache folder that keeps what one process found out for the next.

Whatever is wrong with what was kept, or with keeping it, is as if nothing was kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.paths import cache_folder
from robuststack.running.atomic_files import write_bytes


class KeptFile:
    """Entries by key, each plain JSON data. `maker` is what they depend on beside their keys: of another one none is read.

    Args:
        name: the folder of the cache folder; each version of Python has a file there.
        most: how many entries are kept, those that were used last.
    """

    def __init__(self, name: str, maker: str, most: int) -> None:
        self._maker = f"{maker} {sys.version}"
        self._most = most
        self._path = _path(name)

    def read(self) -> dict[str, Any]:
        """What is kept at this moment."""
        if self._path is None:
            return {}
        try:
            checksum, _, content = self._path.read_bytes().partition(b"\n")
            if checksum.decode() != hashlib.sha256(content).hexdigest():
                return {}
            kept = json.loads(content)
            if kept["maker"] != self._maker:
                return {}
            return dict(kept["entries"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, used: Mapping[str, Any]) -> None:
        """Keep what this process used, beside what others have kept meanwhile."""
        if self._path is None:
            return
        others = {key: entry for key, entry in self.read().items() if key not in used}
        entries = dict([*others.items(), *used.items()][-self._most :])
        with contextlib.suppress(OSError, RobustStackError):
            content = json.dumps({"maker": self._maker, "entries": entries}).encode()
            write_bytes(self._path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _path(name: str) -> Path | None:
    """The file for this version of Python; None if there is no place for it."""
    with contextlib.suppress(RobustStackError):
        folder = cache_folder()
        return folder / name / f"{sys.implementation.cache_tag}.json" if folder else None
    return None
