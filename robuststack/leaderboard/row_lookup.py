"""A row as a user names it: its label, or words of it that no other row has together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError


class Labelled(Protocol):
    """A row, or what stands for one."""

    @property
    def label(self) -> str: ...


L = TypeVar("L", bound=Labelled)
SHOWN = 4
"""How many of the rows that fit are named."""


def find_row(rows: Sequence[L], name: str) -> L:
    """The row of this label; else the only one whose label has all of its words: `digits oat lambda=0.2`. If no label has
    them, a word may be the value of a knob, of whatever name: `digits oat 0.2`.

    Raises:
        LeaderboardError: no row fits, or several do.
    """
    labels = [row.label for row in rows]
    if name in labels:
        return rows[labels.index(name)]
    words = _words(name)
    fitting = [row for row in rows if words and words <= _words(row.label)] or [
        row for row in rows if words and words <= _words(row.label) | _values(row.label)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        more = f" and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else ""
        fits = ", ".join(repr(row.label) for row in fitting[:SHOWN])
        raise LeaderboardError(f"{name!r} fits {len(fitting)} rows, {fits}{more}: name more of the label")
    raise LeaderboardError(f"no row {name!r}: {_near(words, labels) or did_you_mean(name, labels)}")


def _words(label: str) -> set[str]:
    return set(re.split(r"[\s/]+", label.strip())) - {""}


def _values(label: str) -> set[str]:
    """What stands behind an equals sign: `0.2` of `lambda=0.2`."""
    return {word.partition("=")[2] for word in _words(label)} - {""}


def _near(words: set[str], labels: Sequence[str]) -> str | None:
    """The rows that have the most of the words, if they have any."""
    shared = {label: len(words & _words(label)) for label in labels}
    best = sorted((label for label in labels if shared[label]), key=lambda label: -shared[label])[:2]
    return f"did you mean {' or '.join(map(repr, best))}?" if best else None
