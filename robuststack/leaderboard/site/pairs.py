"""Every two rows of a table against each other, as the page shows them: what `leaderboard compare --rows` says, in numbers.

They lie in a file of their own, which the page loads when two rows are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from robuststack.errors import LeaderboardError
from robuststack.evidence.readings import TooFewDraws
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.difference import (
    Difference,
    RowReader,
    chosen_protocol,
    common_figures,
    compared,
    decided,
    refuse_other_questions,
)
from robuststack.leaderboard.row import Row

MOST_ROWS = 60
"""Of a table with more rows only those at the same values of their knobs are compared: pairs grow with the square."""


def row_pairs(rows: Sequence[Row], labels: Mapping[str, Labels]) -> dict[str, dict[str, Any]]:
    """The positions of two rows, `3 5` -> what the first is, compared with the second: `figures`, `about`, and for each
    figure under `differences` its difference in points, both limits, the corrected p and the verdict. Pairs that cannot be
    compared are left out."""
    reader = RowReader(labels)
    pairs = {}
    for first, second in _chosen(rows):
        own, other = rows[first], rows[second]
        try:
            refuse_other_questions(own, other)
            protocol = chosen_protocol(own, other, None)
            figures = common_figures(own, other, protocol)
            comparisons = compared(own, other, (reader, reader), protocol, figures)
        except (LeaderboardError, TooFewDraws):
            continue
        differences = decided(list(comparisons.items()))
        pairs[f"{first} {second}"] = {
            "figures": figures,
            "about": differences[0].scope,
            "differences": [_numbers(difference) for difference in differences],
        }
    return pairs


def _chosen(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """The positions of the pairs of each table."""
    for heading in dict.fromkeys(row.heading for row in rows):
        places = [place for place, row in enumerate(rows) if row.heading == heading]
        for first, second in combinations(places, 2):
            if len(places) <= MOST_ROWS or list(rows[first].point.values()) == list(rows[second].point.values()):
                yield first, second


def _numbers(difference: Difference) -> list[float | str | None]:
    """Rounded as far as anyone reads; a p that is not 0 does not become 0."""
    p = difference.p if difference.p is None else float(f"{difference.p:.2g}")
    return [*(round(value, 4) for value in (difference.value, difference.low, difference.high)), p, difference.verdict]
