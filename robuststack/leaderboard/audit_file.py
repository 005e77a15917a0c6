"""The files of an audit: JSON, which is the truth, and Markdown for reading.

`<suite>.audit.json` and `<suite>.audit.md` lie beside `<suite>.json`. An audit of some rows, or by some checks, goes to
`<suite>.partial.audit.json` and `<suite>.partial.audit.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.audit import Audit, RowAudit, audit_json
from robuststack.leaderboard.audit_table import audit_markdown
from robuststack.leaderboard.row import Row
from robuststack.plugin.options import first_problem
from robuststack.running.atomic_files import make_folder, write_text

ENDING = ".audit.json"


def audit_path(board: Path) -> Path:
    """The audit file beside a leaderboard's JSON file."""
    return board.with_suffix(ENDING)


def board_files(folder: Path) -> list[Path]:
    """The JSON files of the leaderboards in a folder, without the audits beside them."""
    return sorted(path for path in folder.glob("*.json") if not path.name.endswith(ENDING))


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write the files of an audit; the JSON file is the first.

    Raises:
        StoreError: a file cannot be written; the old one is kept.
    """
    make_folder(folder)
    path = folder / f"{audit.suite}{'' if audit.complete else '.partial'}{ENDING}"
    write_text(path, audit_json(audit) + "\n")
    text = path.with_suffix(".md")
    write_text(text, audit_markdown(audit))
    return [path, text]


def read_audit(path: Path) -> Audit:
    """An audit file.

    Raises:
        LeaderboardError: it is not one, or something in it is missing or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Audit.model_validate_json(text)
    except ValidationError as error:
        raise LeaderboardError(f"{path} is not an audit that this version reads: {_problem(error, text)}") from None
    except (OSError, ValueError) as error:
        raise LeaderboardError(f"{path} cannot be read as an audit: {error}") from None


def find_audit(board: Path, rows: Iterable[Row]) -> dict[str, RowAudit]:
    """The audits beside a leaderboard of the rows that it holds now, by label. A row that was run again since, and came to
    other jobs or other labels, or was attacked in more ways or trained with more seeds, has none.

    Raises:
        LeaderboardError: the file is there and cannot be read.
    """
    path = audit_path(board)
    if not path.is_file():
        return {}
    audits = read_audit(path).by_label
    return {row.label: audits[row.label] for row in rows if row.label in audits and audits[row.label].is_of(row)}


def _problem(error: ValidationError, text: str) -> str:
    try:
        return str(first_problem(Audit, error, json.loads(text)))
    except ValueError:
        return "it is no JSON"
