"""Entries: a tunable defense as one, with its settings in the plane of clean and robust accuracy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from robuststack.evidence.front import dominated, hypervolume, knee
from robuststack.leaderboard.board import Entry
from robuststack.leaderboard.row import Row
from robuststack.wording import component_text, options_text


def make_entries(rows: Sequence[Row]) -> list[Entry]:
    """One entry for each defense of each table."""
    return [entry_of(group) for group in grouped(rows)]


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each entry."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = [row.variant, row.threat.resolved(), row.defense, row.shown, _apart(row)]
        groups.setdefault(json.dumps(key), []).append(row)
    return list(groups.values())


def is_tuned(row: Row) -> bool:
    """Whether the defense has a knob at deployment; PGD-AT, of which each setting is a model of its own, has none."""
    return not set(row.point) <= set(row.retrained)


def _apart(row: Row) -> dict[str, Any]:
    """What makes an entry of its own: options that models were trained with, and the width, a network in a network. If
    such options are all there is to choose, the models together are one entry."""
    keys = [*(row.retrained if is_tuned(row) else ()), "width"]
    return {key: row.point[key] for key in keys if key in row.point}


def accuracies(row: Row) -> tuple[float, float]:
    """Where a row lies in the plane of clean and robust accuracy, in percent."""
    return row.ca.value, row.worst.value


def entry_of(rows: Sequence[Row]) -> Entry:
    """One entry, from its rows."""
    points = np.array([accuracies(row) for row in rows])
    names = [setting(row) for row in rows]
    bent = int(knee(points))
    first = rows[0]
    return Entry(
        variant=first.variant,
        threat=first.threat,
        defense=first.defense,
        shown={**first.shown, **_apart(first)},
        models=1 if is_tuned(first) else len(rows),
        settings=len(rows),
        hypervolume=round(float(hypervolume(points)), 2),
        knee=names[bent] if bent >= 0 else None,
        dominated=tuple(name for name, lost in zip(names, dominated(points), strict=True) if lost),
    )


def setting(row: Row) -> str:
    """An operating point within its entry, as `knee` and `dominated` name it."""
    apart = _apart(row)
    return options_text({key: value for key, value in row.point.items() if key not in apart}) or "-"


def entry_title(entry: Entry) -> str:
    """`oat dim=128`."""
    return component_text(entry.defense, entry.shown)


def entry_cells(entry: Entry) -> list[str]:
    """data and network, defense, models, settings, hypervolume, knee, dominated settings."""
    return [
        ", ".join(entry.variant),
        entry_title(entry),
        str(entry.models),
        str(entry.settings),
        f"{entry.hypervolume:.1f}",
        entry.knee or "-",
        ", ".join(entry.dominated) or "-",
    ]
