"""Compare two rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import overload

from robuststack.api.arguments import PLACE, TEXT, checked
from robuststack.api.result import Result
from robuststack.errors import RobustStackError
from robuststack.evidence.readings import Reading
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.audit_file import find_audit
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.board_lookup import load_board, load_labels
from robuststack.leaderboard.comparison import LabelledRows, RowComparison, RowSource, compare_rows, sources
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.row import Row
from robuststack.paths import STORE
from robuststack.running.store import Store


@overload
def compare(
    first: Row, second: Row, /, *, protocol: str | None = None, attack: str | None = None, reading: str = "expected",
    labels: Mapping[str, Labels] | None = None, store: str | Path = STORE,
) -> RowComparison: ...  # fmt: skip


@overload
def compare(
    board: Board | Result | str | Path, first: Row | str, second: Row | str, /, *, protocol: str | None = None,
    attack: str | None = None, reading: str = "expected", labels: Mapping[str, Labels] | None = None,
    store: str | Path = STORE,
) -> RowComparison: ...  # fmt: skip


@checked(protocol=TEXT.or_none(), attack=TEXT.or_none(), reading=TEXT, store=PLACE)
def compare(
    *given: Board | Result | Row | str | Path,
    protocol: str | None = None,
    attack: str | None = None,
    reading: str = "expected",
    labels: Mapping[str, Labels] | None = None,
    store: str | Path = STORE,
) -> RowComparison:
    """The first of two rows against the second: better, worse or undecided, with the difference, its interval and every
    seed's figure, as `robuststack leaderboard compare --rows` has it.

    `compare(board, "A", "B")` takes a leaderboard, as its file, from `load_board` or as the result of a run, and two rows
    of it: labels, or words that no other label has together. Both defenses' whole curves are compared too.
    `compare(row, row)` takes two rows of a run, whose labels are read from `store`. `labels` are used in place of
    either. `protocol` is that of the headline unless it is given; with an `attack` the question is that attack alone.
    `reading` is how judging draws are read: `expected`, `majority 5` or `any 10`.

    Raises:
        RobustStackError: the rows are of other images, threat models, protocols or attacks, or their labels are missing.
    """
    usage = "compare takes two rows, or a leaderboard and two of its rows"
    if len(given) not in (2, 3):
        raise RobustStackError(usage)
    *boards, first, second = given
    asked = Reading.parse(reading)
    if boards:
        labelled = _labelled(boards[0], labels)
        known = {row.label: row for row in labelled.rows}
        for row in (first, second):
            if isinstance(row, Row) and known.get(row.label, row) != row:
                raise RobustStackError(
                    f"compare: the row {row.label} that is given is not that of the leaderboard; leave the leaderboard out"
                )
        names = tuple(row.label if isinstance(row, Row) else str(row) for row in (first, second))
        pair = sources(labelled, labelled, (names[0], names[1]), asked)
    else:
        if not isinstance(first, Row) or not isinstance(second, Row):
            raise RobustStackError(usage)
        kept = board_labels.collect([first, second], Store(store, create=False)) if labels is None else labels
        reader = RowReader(kept, asked)
        pair = RowSource(first, [first], reader), RowSource(second, [second], reader)
    return compare_rows(*pair, protocol=protocol, attack=attack)


def _labelled(board: Board | Result | Row | str | Path, labels: Mapping[str, Labels] | None) -> LabelledRows:
    """The rows of a leaderboard, the labels behind them (those given, or else its own), and the audit beside it."""
    if isinstance(board, Row):
        raise RobustStackError("compare takes a leaderboard before two of its rows, not a third row")
    if isinstance(board, Result):
        return LabelledRows(board.rows, board.labels if labels is None else labels)
    opened = board if isinstance(board, Board) else load_board(board)
    audits = find_audit(opened.file, opened.rows) if opened.file else {}
    return LabelledRows(opened.rows, load_labels(opened) if labels is None else labels, audits)
