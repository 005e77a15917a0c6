"""A folder of leaderboards -> index.html and the files it loads, the same bytes for the same leaderboards."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from robuststack.errors import LeaderboardError
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.audit_file import board_files
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.site.pairs import row_pairs
from robuststack.leaderboard.site.payload import payload
from robuststack.running.atomic_files import make_folder, write_bytes

ASSETS = "site"
"""The folder beside index.html with what it loads."""
STYLES = ("vendor/tabulator.min.css", "static/style.css", "static/table.css")
SCRIPTS = (
    "vendor/d3.min.js", "vendor/plot.umd.min.js", "vendor/tabulator.min.js", "static/words.js",
    "static/address.js", "static/controls.js", "static/readings.js", "static/series.js", "static/charts.js",
    "static/table.js", "static/filters.js", "static/compare.js", "static/games.js", "static/draws.js",
    "static/export.js", "static/claims.js", "static/suite.js", "static/row.js", "static/ranking.js",
    "static/home.js", "static/app.js",
)  # fmt: skip
NOTICES = ("vendor/README.md", "vendor/d3.LICENSE", "vendor/plot.LICENSE", "vendor/tabulator.LICENSE")


@dataclass(frozen=True)
class Site:
    """What was built."""

    index: Path
    suites: int
    rows: int
    size: int
    """Of all files, in bytes."""


def build_page(folder: Path, out: Path) -> Site:
    """Write the page of every leaderboard in `folder` to `out`. Data of leaderboards that are gone is removed.

    Raises:
        LeaderboardError: there is none, or a file is not one.
        StoreError: it cannot be written.
    """
    boards = read_boards(folder)
    content = dict(contents(boards, folder))
    for name, data in content.items():
        make_folder((out / name).parent)
        write_bytes(out / name, data)
    for path in (out / ASSETS / "data").glob("*.js"):
        if f"{ASSETS}/data/{path.name}" not in content:
            path.unlink()
    rows = sum(len(board.rows) for board in boards.values())
    return Site(out / "index.html", len(boards), rows, sum(map(len, content.values())))


def read_boards(folder: Path) -> dict[str, Board]:
    """The leaderboards of a folder, by the name of their file.

    Raises:
        LeaderboardError: there is none, or a file is not one.
    """
    paths = board_files(folder)
    if not paths:
        raise LeaderboardError(f"no leaderboards (*.json) in {folder}: `robuststack run SUITE` writes one there")
    boards = {path.stem: read_board(path) for path in paths}
    # Suites nearest to the leaderboards first: those in folders of their own are collections beside the main ones.
    return dict(sorted(boards.items(), key=lambda named: (str(named[1].suite_file).count("/"), named[0])))


def contents(boards: Mapping[str, Board], folder: Path) -> Iterator[tuple[str, bytes]]:
    """(path relative to index.html, content) of every file of the page; `folder` holds the leaderboards and their labels.

    Raises:
        LeaderboardError: a file of labels cannot be read.
    """
    here = resources(__package__)
    colours = list(dict.fromkeys(row.defense for board in boards.values() for row in board.rows))
    scripts = []
    for name, board in boards.items():
        # A script, not JSON: a page opened from disk may not fetch anything.
        data = json.dumps(payload(name, board, folder, colours), separators=(",", ":"), allow_nan=False)
        scripts.append(f"data/{name}.js")
        yield f"{ASSETS}/data/{name}.js", f"robuststack.boards.push({data});\n".encode()
        pairs = row_pairs(board.rows, board_labels.load(folder / f"{name}.json"))
        kept = json.dumps(pairs, separators=(",", ":"), allow_nan=False)
        yield f"{ASSETS}/data/{name}.pairs.js", f"robuststack.pairs[{json.dumps(name)}] = {kept};\n".encode()
    for name in (*STYLES, *SCRIPTS, *NOTICES):
        yield f"{ASSETS}/{name}", here.joinpath(name).read_bytes()
    template = here.joinpath("static/index.html").read_text(encoding="utf-8")
    styles = [f'<link rel="stylesheet" href="{ASSETS}/{name}">' for name in STYLES]
    # Data follows `words.js`, which makes the namespace that it is put into.
    after = SCRIPTS.index("static/words.js") + 1
    ordered = [*SCRIPTS[:after], *scripts, *SCRIPTS[after:]]
    tags = [f'<script src="{html.escape(f"{ASSETS}/{name}")}" defer></script>' for name in ordered]
    page = template.replace("<!-- styles -->", "\n".join(styles)).replace("<!-- scripts -->", "\n".join(tags))
    yield "index.html", page.encode()
