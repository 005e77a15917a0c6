"""Entries: a tunable defense as one, with its settings in the plane of clean and robust accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robuststack.evidence.front import dominated, hypervolume, knee
from robuststack.evidence.redrawn_front import SettingReading, front_of
from robuststack.leaderboard.board import Entry, EntryCertainty
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.row import CLEAN, WORST, Row
from robuststack.leaderboard.row_labels import MissingLabels
from robuststack.wording import component_text, options_text, percent_text


def make_entries(rows: Sequence[Row], labels: Mapping[str, Labels]) -> list[Entry]:
    """One entry for each defense of each table; how sure it is comes from the labels behind the rows."""
    reader = RowReader(labels)
    return [entry_of(group, _certainty(group, reader)) for group in grouped(rows)]


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


def _shown(row: Row) -> dict[str, Any]:
    """What is printed beside the defense's name, and tells its entry from others."""
    return {**row.shown, **_apart(row)}


def accuracies(row: Row) -> tuple[float, float]:
    """Where a row lies in the plane of clean and robust accuracy, in percent."""
    return row.ca.value, row.worst.value


def entry_of(rows: Sequence[Row], certainty: EntryCertainty | None) -> Entry:
    """One entry, from its rows."""
    points = np.array([accuracies(row) for row in rows])
    names = [setting(row) for row in rows]
    bent = int(knee(points))
    first = rows[0]
    return Entry(
        variant=first.variant,
        threat=first.threat,
        defense=first.defense,
        shown=_shown(first),
        models=1 if is_tuned(first) else len(rows),
        settings=len(rows),
        hypervolume=round(float(hypervolume(points)), 2),
        knee=names[bent] if bent >= 0 else None,
        dominated=tuple(name for name, lost in zip(names, dominated(points), strict=True) if lost),
        certainty=certainty,
    )


def _certainty(rows: Sequence[Row], reader: RowReader) -> EntryCertainty | None:
    """Of one entry, by the headline's protocol; None if labels are missing."""
    try:
        settings = [
            SettingReading(*(reader.read(row, row.protocol, figure)[0] for figure in (CLEAN, WORST))) for row in rows
        ]
    except MissingLabels:
        return None
    if len({len(setting.clean.per_image) for setting in settings}) > 1:
        return None
    redrawn = front_of(settings)
    names = [setting(row) for row in rows]
    return EntryCertainty(
        low=round(redrawn.low, 2),
        high=round(redrawn.high, 2),
        knee=round(redrawn.knee_share, 3),
        dominated={name: round(float(share), 3) for name, share in zip(names, redrawn.dominated_share, strict=True)},
    )


def setting(row: Row) -> str:
    """An operating point within its entry, as `knee` and `dominated` name it."""
    apart = _apart(row)
    return options_text({key: value for key, value in row.point.items() if key not in apart}) or "-"


def entry_name(rows: Sequence[Row]) -> str:
    """`floats width=0.5`: the defense of an entry's rows, and all that tells it from other entries."""
    return component_text(rows[0].defense, _shown(rows[0]))


def entry_title(entry: Entry) -> str:
    """`oat dim=128`."""
    return component_text(entry.defense, entry.shown)


def entry_cells(entry: Entry) -> list[str]:
    """data and network, defense, models, settings, hypervolume with its interval, knee and dominated settings with the
    share of redrawn fronts that agree."""
    sure = entry.certainty
    volume = f"{entry.hypervolume:.1f}"
    return [
        ", ".join(entry.variant),
        entry_title(entry),
        str(entry.models),
        str(entry.settings),
        percent_text(entry.hypervolume, sure.low, sure.high) if sure else volume,
        f"{entry.knee or '-'}{_agreed(sure.knee if sure and entry.settings > 2 else None)}",
        ", ".join(f"{name}{_agreed(sure.dominated[name] if sure else None)}" for name in entry.dominated) or "-",
    ]


def _agreed(share: float | None) -> str:
    """` (87 %)`"""
    return "" if share is None else f" ({100 * share:.0f} %)"
