"""A leaderboard as its page shows it: the board itself, and beside each row what would else be computed in the browser."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.leaderboard.entries import entry_of, grouped, is_tuned, pareto, setting
from robuststack.leaderboard.files import SUSPICIOUS_ZERO_GRADIENTS, suspicions
from robuststack.leaderboard.keys import Row
from robuststack.leaderboard.tables import heading_of, words
from robuststack.suite.single_model import COMMAND
from robuststack.suite.smoke import SUFFIX as SMOKE_SUFFIX


def payload(name: str, board: Mapping[str, Any], folder: Path, colours: Sequence[str]) -> dict[str, Any]:
    """`name` is that of the file; `colours` lists the defenses of all leaderboards: each keeps its colour everywhere."""
    rows = board["rows"]
    shown = {id(row): facts for row, facts in zip(rows, _facts(board, folder), strict=True)}
    entries = []
    for position, group in enumerate(grouped(rows)):
        entry = entry_of(group)
        title = words(entry["defense"], entry["shown"])
        entries.append({**entry, "heading": heading_of(group[0]), "title": title})
        for row in group:
            own = setting(row)
            standing = {"knee": own == entry["knee"], "dominated": own in entry["dominated"]}
            shown[id(row)] |= {
                "entry": position,
                "entryTitle": title,
                "setting": own,
                "point": words("", row["point"]),
                **standing,
            }
    return {
        **{key: value for key, value in board.items() if key not in ("rows", "entries", "suite_file")},
        "name": name,
        "colours": list(colours),
        "thresholds": {"gradients_zero": SUSPICIOUS_ZERO_GRADIENTS},
        "headings": list(dict.fromkeys(map(heading_of, rows))),
        "entries": entries,
        "command": _command(board, folder),
        "rows": [{**row, "site": shown[id(row)]} for row in rows],
    }


def _facts(board: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Of each row: its address, its table, what tells it apart, whether it is on the front, doubts, how to rerun it."""
    rows = board["rows"]
    fronts = {
        heading: set(pareto([_point(row) for row in rows if heading_of(row) == heading]))
        for heading in dict.fromkeys(map(heading_of, rows))
    }
    taken: set[str] = set()
    return [
        {
            "id": _address(row["label"], taken),
            "heading": heading_of(row),
            "title": words(row["defense"], row["shown"]),
            "tuned": is_tuned(row),
            "front": _point(row) in fronts[heading_of(row)],
            "suspicions": suspicions(row),
            "command": _command(board, folder, row),
        }
        for row in rows
    ]


def _point(row: Row) -> tuple[float, float]:
    return row["ca"]["value"], row["ra"]["worst"]["value"]


def _address(label: str, taken: set[str]) -> str:
    """A label as the last part of a link; labels that would look alike there are numbered."""
    slug = re.sub(r"[^A-Za-z0-9._=+]+", "-", label).strip("-")
    found, number = slug, 2
    while found in taken:
        found, number = f"{slug}-{number}", number + 1
    taken.add(found)
    return found


def _command(board: Mapping[str, Any], folder: Path, row: Row | None = None) -> str:
    """What ran the suite, or what runs one row of it, from the folder that the leaderboards lie in."""
    if board["description"].startswith(COMMAND):  # Without a suite file, its own words are what it was asked for.
        parts = shlex.split(board["description"])
        return shlex.join([*parts, *_pinned(board, parts), "--device", board["device"]])
    suite = posixpath.normpath(posixpath.join(folder.resolve().name, board.get("suite_file") or "SUITE.yaml"))
    parts = ["robuststack", "run", suite, *(part for one in board["overrides"] for part in ("--set", one))]
    parts += [*_pinned(board, board["overrides"]), "--device", board["device"]]
    parts += ["--smoke"] if board["suite"].endswith(SMOKE_SUFFIX) else []
    return shlex.join([*parts, *(["--only", row["label"]] if row else [])])


def _pinned(board: Mapping[str, Any], told: Sequence[str]) -> list[str]:
    """The precision, which `auto` would choose anew on another machine: jobs of another one are other jobs."""
    return [] if any(one.startswith("precision=") for one in told) else ["--set", f"precision={board['precision']}"]
