"""A leaderboard from a plan and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robuststack.leaderboard.board import BOARD_SCHEMA, Board, BoardAttack, TrainingCurve
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.claims import compared
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.entries import make_entries
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.row import Row
from robuststack.plan.plan import Plan


def make_board(
    plan: Plan,
    rows: Sequence[Row],
    labels: Mapping[str, Labels],
    *,
    complete: bool,
    training: Mapping[str, TrainingCurve] | None = None,
    suite_file: str | None = None,
    games: Sequence[Game] = (),
) -> Board:
    """The leaderboard of the rows of a plan; `labels` are those behind the rows, as far as they are there; `suite_file` is
    where the suite lies, seen from the leaderboard's folder."""
    reader = RowReader(labels)
    return Board(
        schema_=BOARD_SCHEMA,
        suite=plan.suite.name,
        title=" ".join(plan.suite.title.split()),
        unranked=not plan.suite.ranked,
        suite_file=suite_file,
        description=" ".join(plan.suite.description.split()),
        overrides=tuple(plan.suite.overrides),
        complete=complete,
        device=plan.hardware.kind,
        precision=plan.hardware.precision,
        attacks=_asked_for(plan.attacks),
        shifts=_asked_for(plan.shifts),
        rows=tuple(rows),
        entries=tuple(make_entries(rows, labels)),
        reference=tuple(plan.suite.reference),
        claims=tuple(compared(claim, rows, reader) for claim in plan.suite.claims),
        training=dict(training or {}),
        games=tuple(games),
    )


def _asked_for(attacks: Mapping[str, Mapping[str, Any]]) -> tuple[BoardAttack, ...]:
    return tuple(
        BoardAttack(label=label, name=attack["name"], options=attack["options"]) for label, attack in attacks.items()
    )
