"""A file that a component fetches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file that a component fetches."""

    url: str
    """Where it comes from."""
    hash: str
    """`md5:HEX` or `sha256:HEX` of its content; empty if its publisher names none."""
    path: str
    """Where it lies below the data folder."""
