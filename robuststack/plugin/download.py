"""A file that a component fetches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file that a dataset fetches: where from, its hash, and where it lies below the data folder."""

    url: str
    hash: str
    path: str
