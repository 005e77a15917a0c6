"""A leaderboard as a Markdown file, for reading."""

from __future__ import annotations

from collections.abc import Mapping

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.method_text import method_text
from robuststack.leaderboard.table import tables


def markdown(board: Board, pictures: Mapping[str, str]) -> str:
    """Tables, then figures (file -> title), then how all of it was obtained."""
    parts = [f"# {board.title or board.suite}", board.description]
    if not board.complete:
        parts.append("**Partial:** some rows of the suite are missing.")
    if board.overrides:
        parts.append("Overrides: " + ", ".join(f"`--set {override}`" for override in board.overrides))
    for heading, table in tables(board, "github"):
        parts += [f"## {heading}", table]
    parts += [f"![{title}]({name})" for name, title in pictures.items()]
    if board.rows:
        parts += ["## How the figures were obtained", method_text(board)]
    return "\n\n".join(part for part in parts if part) + "\n"
