"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.formats import as_text
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.notebook import as_dataframe, as_html, failures, plane, summary
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.paths import STORE
from robuststack.plan.plan import Plan
from robuststack.plugin.registry import Registry
from robuststack.running.pipeline import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(repr=False)
class Result:
    """What a run gives back. `rows` are those of the leaderboard; `row.model_dump(mode="json")` is one as a dictionary."""

    plan: Plan
    outcome: Outcome
    rows: list[Row]
    games: list[Game] = field(default_factory=list)
    """The knobs of tunable defenses as games, if the suite asks for them."""
    files: list[Path] = field(default_factory=list)
    labels: Mapping[str, Labels] = field(default_factory=dict, repr=False)
    """The labels behind the rows, by judge job."""
    registry: Registry | None = field(default=None, repr=False)
    """What is registered where it ran: a model of the program too."""
    store: Path = Path(STORE)
    """Where its jobs are kept."""
    leaderboard: Path | None = None
    """The folder that its leaderboard was written to."""

    @property
    def failed(self) -> dict[str, str]:
        """Label of each failed job -> why."""
        return {self.plan.by_id[job].label: str(error) for job, error in self.outcome.failed.items()}

    @property
    def notes(self) -> list[str]:
        """How the data was read, a line each: the order of the classes, files that were left out, labels that never occur.
        They were logged before anything was computed."""
        return self.plan.notes

    @property
    def suspicions(self) -> list[str]:
        """What makes figures doubtful, a line for each such row, such as gradients that are zero."""
        return doubtful_rows(self.rows)

    def __repr__(self) -> str:
        return summary(self.rows, self.failed)

    def _repr_html_(self) -> str:
        return as_html(self._board, self.failed)

    def to_dataframe(self) -> DataFrame:
        """A pandas DataFrame, a row for each figure: clean accuracy, and robust accuracy under each attack, by protocol.

        Raises:
            RobustStackError: pandas is not installed.
        """
        return as_dataframe(self.rows)

    def plot(self) -> Figure:
        """Clean and robust accuracy of every row in one plane, as a matplotlib Figure: a notebook shows it, `savefig` keeps
        it. The `suspicions` stand below.

        Raises:
            RobustStackError: there is no row.
        """
        return plane(self.rows, self.failed)

    def table(self, style: str = "simple") -> str:
        """The leaderboard as text, in one of tabulate's formats, and below it the `suspicions` and what failed."""
        parts = [as_text(self._board, style), *(f"Failed: {line}" for line in failures(self.failed))]
        return "\n\n".join(part for part in parts if part)

    @cached_property
    def _board(self) -> Board:
        return make_board(self.plan, self.rows, self.labels, complete=True, games=self.games)
