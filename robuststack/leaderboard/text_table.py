"""Rows of texts as a table that keeps its columns, whatever stands in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate


def text_table(body: Iterable[Sequence[str]], header: Sequence[str], style: str, **more: Any) -> str:
    """A table in one of tabulate's formats. A cell is one line, and a `|` in it, of a model's name or an option's value,
    ends no cell of Markdown."""
    lines = [[_cell(text, style) for text in row] for row in body]
    return tabulate(lines, [_cell(text, style) for text in header], tablefmt=style, disable_numparse=True, **more)


def _cell(text: str, style: str) -> str:
    line = " ".join(text.splitlines())
    return line.replace("|", r"\|") if style == "github" else line
