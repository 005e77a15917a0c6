"""A leaderboard as its page shows it: the board itself, and beside each row what would else be computed in the browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.evidence.front import dominated
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.audit_file import find_audit
from robuststack.leaderboard.board import Board, Entry
from robuststack.leaderboard.claims import audited_verdict
from robuststack.leaderboard.entries import accuracies, entry_title, grouped, is_tuned, setting
from robuststack.leaderboard.keys import COUNTS
from robuststack.leaderboard.ladder import ORDER
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.site.command_line import command_line, comparing
from robuststack.leaderboard.suspicion import SUSPICIOUS_CLIPPING, SUSPICIOUS_ZERO_GRADIENTS, saturated, suspicions
from robuststack.suite.smoke import SUFFIX as SMOKE_SUFFIX
from robuststack.wording import component_text, options_text, pair_text, threat_text, value_text


def payload(name: str, board: Board, folder: Path, colours: Sequence[str]) -> dict[str, Any]:
    """`name` is that of the file; `colours` lists the defenses of all leaderboards: each keeps its colour everywhere.

    Raises:
        LeaderboardError: the leaderboard's entries are not those of its rows.
    """
    rows = board.rows
    groups = grouped(rows)
    if len(board.entries) != len(groups):
        raise LeaderboardError(f"{name}: its entries do not fit its rows; run its suite again to write it whole")
    headings = list(dict.fromkeys(row.heading for row in rows))
    fronts = {heading: _front([accuracies(row) for row in rows if row.heading == heading]) for heading in headings}
    beside = _standing(board.entries, groups)
    audits = find_audit(folder / f"{name}.json", rows)
    taken: set[str] = set()
    shown = [
        {
            **row.model_dump(mode="json"),
            **{count: getattr(row, count) or None for count in COUNTS},
            "site": {
                "id": _address(row.label, taken),
                "heading": row.heading,
                "title": row.title,
                "tuned": is_tuned(row),
                "front": accuracies(row) in fronts[row.heading],
                "suspicions": suspicions(row),
                "audit": _audit(audits.get(row.label)),
                "command": command_line(board, folder, row),
                **beside[row.label],
                **_texts(row),
            },
        }
        for row in rows
    ]
    return {
        **board.model_dump(
            mode="json",
            by_alias=True,
            exclude={"rows", "entries", "games", "claims", "attacks", "shifts", "suite_file"},
        ),
        "name": name,
        "title": board.title or name,
        "smoke": board.suite.endswith(SMOKE_SUFFIX),
        "colours": list(colours),
        "thresholds": {"gradients_zero": SUSPICIOUS_ZERO_GRADIENTS, "clipped": SUSPICIOUS_CLIPPING},
        "headings": headings,
        "rungs": list(ORDER),
        "saturated": saturated(rows),
        "attacks": [
            {"label": attack.label, "text": component_text(attack.name, attack.options)} for attack in board.attacks
        ],
        "entries": [_entry(entry, group) for entry, group in zip(board.entries, groups, strict=True)],
        "games": [
            {**game.model_dump(mode="json"), "title": game.title, "heading": game.heading, "mixture": game.mixture}
            for game in board.games
        ],
        "claims": [{**claim.model_dump(mode="json"), "said": audited_verdict(claim, audits)} for claim in board.claims],
        "command": command_line(board, folder),
        "comparing": comparing(name, folder),
        "rows": shown,
    }


def _audit(audit: RowAudit | None) -> dict[str, Any] | None:
    """What the audit of a row found; None without one."""
    if audit is None:
        return None
    shown = audit.model_dump(mode="json", include={"images", "others", "ra", "ra_worst", "verdicts"})
    return {**shown, "badge": audit.badge, "broken": bool(audit.broken), "grave": bool(audit.broken or audit.weak)}


def _entry(entry: Entry, rows: Sequence[Row]) -> dict[str, Any]:
    return {**entry.model_dump(mode="json"), "heading": rows[0].heading, "title": entry_title(entry)}


def _front(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """The points that no other dominates."""
    return {point for point, lost in zip(points, dominated(np.array(points)), strict=True) if not lost}


def _standing(entries: Sequence[Entry], groups: Sequence[Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """Label of each row -> how it stands in its entry."""
    standing = {}
    for position, (entry, group) in enumerate(zip(entries, groups, strict=True)):
        for row in group:
            own = setting(row)
            standing[row.label] = {
                "entry": position,
                "entryTitle": entry_title(entry),
                "setting": own,
                "knee": own == entry.knee,
                "dominated": own in entry.dominated,
            }
    return standing


def _texts(row: Row) -> dict[str, Any]:
    """Options, knobs and radii of a row, as labels and tables write them."""
    recipe = row.recipe
    return {
        "point": options_text(row.point),
        "knobs": {key: {"pair": pair_text(key, value), "value": value_text(value)} for key, value in row.point.items()},
        "model": {
            "defense": component_text(row.defense, row.options),
            "operating point": options_text(row.point) or "none",
            "architecture": component_text(row.architecture or "–", row.architecture_options),
            "dataset": component_text(row.dataset, row.dataset_options),
            "threat model": threat_text(row.threat.norm, row.threat.eps),
            "precision": f"training and attacks in {row.precision}; judged in float32",
            **(
                {"user model": options_text(row.user_model.model_dump(exclude_defaults=True))} if row.user_model else {}
            ),
        },
        "training": {
            **{key: value_text(value) for key, value in recipe.model_dump(exclude={"attack"}).items()},
            "attack": component_text(recipe.attack.name, recipe.attack.options),
        }
        if recipe
        else {},
        "attacks": [
            [label if scores is row else f"{label} ({protocol})", options_text(options) or "none"]
            for protocol, scores in row.scores.items()
            for label, options in scores.attacks.items()
        ],
        "effort": {
            "epochs run": _listed(row.effort.epochs),
            "optimiser steps": _listed(row.effort.steps),
            "model calls of the attacks": options_text(row.effort.calls) or "none",
            "noise draws from a table": f"{row.effort.table_draws:,}",
        },
    }


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) or "none"


def _address(label: str, taken: set[str]) -> str:
    """A label as the last part of a link; labels that would look alike there are numbered."""
    slug = re.sub(r"[^A-Za-z0-9._=+]+", "-", label).strip("-")
    address, count = slug, 2
    while address in taken:
        address, count = f"{slug}-{count}", count + 1
    taken.add(address)
    return address
