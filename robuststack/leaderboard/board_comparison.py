"""Two leaderboards of one suite, row by row: what changed, by how much, and whether that is evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from robuststack.errors import LeaderboardError
from robuststack.evidence.decisions import Comparison
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.difference import (
    Difference,
    RowReader,
    common_figures,
    compared,
    decided,
    from_intervals,
    refuse_other_questions,
)
from robuststack.leaderboard.row import WORST, Row
from robuststack.leaderboard.row_labels import MissingLabels


@dataclass(frozen=True)
class Change:
    """One figure of a row: the new leaderboard's minus the old one's."""

    label: str
    difference: Difference


@dataclass(frozen=True)
class BoardComparison:
    """All figures of the rows that both have, and the labels of those that only one has."""

    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def decisive(self) -> list[Change]:
        """The changes with a verdict."""
        return [change for change in self.changes if change.difference.verdict in ("better", "worse")]

    @property
    def without_verdict(self) -> list[Change]:
        """Those of which labels are missing."""
        return [change for change in self.changes if change.difference.verdict == "no verdict"]


def compare_boards(
    old: Board,
    new: Board,
    old_labels: Mapping[str, Labels],
    new_labels: Mapping[str, Labels],
    reading: Reading = EXPECTED,
) -> BoardComparison:
    """The new leaderboard against the old one. All figures are asked together (Holm). A figure whose labels are missing has
    an interval from both printed ones, and no verdict. So has the worst of other attacks.

    Printed figures are of the expected reading: another one needs the labels, and leaves out the worst of other attacks.

    Raises:
        LeaderboardError: they are of different suites, or of different data, or another reading lacks labels.
        TooFewDraws: a row has too few draws for the reading.
    """
    if old.suite != new.suite:
        raise LeaderboardError(
            f"the leaderboards are of different suites, {old.suite!r} and {new.suite!r}; compare two of the same suite, or"
            " two rows with --rows"
        )
    before, after = old.by_label, new.by_label
    readers = RowReader(new_labels, reading), RowReader(old_labels, reading)
    figures = [
        (label, name, figure)
        for label in before
        if label in after
        for name, figure in _figures(after[label], before[label], readers)
    ]
    return BoardComparison(
        tuple(_changes(figures)),
        tuple(label for label in before if label not in after),
        tuple(label for label in after if label not in before),
    )


def _figures(new: Row, old: Row, readers: tuple[RowReader, RowReader]) -> Iterator[tuple[str, Comparison | Difference]]:
    """The figures that both rows have, by each protocol of both."""
    refuse_other_questions(new, old)
    printed_so = readers[0].reading == EXPECTED
    for protocol in new.scores:
        if protocol not in old.scores:
            continue
        behind = None if protocol == new.protocol == old.protocol else protocol
        figures = common_figures(new, old, protocol)
        for figure in figures:
            name = new.figure_name(figure, behind)
            try:
                yield name, compared(new, old, readers, protocol, [figure])[figure]
            except MissingLabels:
                if not printed_so:
                    raise
                yield name, from_intervals(name, new.figures(protocol)[figure], old.figures(protocol)[figure])
        if WORST not in figures and printed_so:  # The worst of other attacks: no image has a pair.
            name = new.figure_name(WORST, behind)
            yield name, from_intervals(name, new.scores[protocol].worst, old.scores[protocol].worst)


def _changes(figures: Sequence[tuple[str, str, Comparison | Difference]]) -> Iterator[Change]:
    """In their order, with one correction over all of them."""
    comparisons = [(name, figure) for _, name, figure in figures if isinstance(figure, Comparison)]
    differences = iter(decided(comparisons))
    for label, _, figure in figures:
        yield Change(label, figure if isinstance(figure, Difference) else next(differences))
