"""Data sets that are one archive, known by its hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import robuststack as rs


class Archived(rs.Dataset):
    """A published set in one archive; a subclass gives `archive` and `sizes`."""

    archive: ClassVar[rs.Download]
    sizes: ClassVar[Mapping[rs.Split, int]]
    """Images in each split."""

    @property
    def fingerprint(self) -> str:
        return self.archive.hash

    def size(self, split: rs.Split) -> int:
        return self.sizes[split]

    def downloads(self) -> Sequence[rs.Download]:
        return (self.archive,)
