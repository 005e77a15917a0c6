"""What an audit is of: a suite, or the suite of a leaderboard and the rows that stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robuststack.errors import LeaderboardError, RobustStackError
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_lookup import find_board
from robuststack.paths import expanded
from robuststack.plan.plan import Plan, RowPlan
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import SUITE_FILES


@dataclass(frozen=True)
class AuditTarget:
    """A suite to audit, where its audit is written, and which rows are meant: all of them, or those of a leaderboard."""

    suite: Suite
    folder: Path
    labels: tuple[str, ...] | None = None
    board: Path | None = None

    def rows(self, plan: Plan) -> list[RowPlan]:
        """The rows of the suite's plan that are meant.

        Raises:
            LeaderboardError: the leaderboard has a row that its suite no longer has.
        """
        if self.labels is None:
            return list(plan.rows)
        gone = set(self.labels) - {row.label for row in plan.rows}
        if gone:
            raise LeaderboardError(
                f"{self.board} has a row {min(gone)!r} that {self.suite.file} no longer has: run the suite again"
            )
        return [row for row in plan.rows if row.label in self.labels]


def audit_target(target: str | Path | Suite, folder: Path, overrides: Sequence[str] = ()) -> AuditTarget:
    """What the user names: a suite, its file, the JSON file of a leaderboard, or a suite's name of which `folder` has one.

    Raises:
        SuiteError, LeaderboardError: it cannot be read, or the leaderboard's suite file is gone.
        RobustStackError: overrides beside a leaderboard, which was made with its own.
    """
    if isinstance(target, Suite):
        return AuditTarget(target, folder)
    path = Path(target)
    if path.suffix in SUITE_FILES:
        return AuditTarget(load_suite(path, overrides), folder)
    if overrides:
        raise RobustStackError(f"--set {overrides[0]}: a leaderboard is audited as it was made; name its suite instead")
    file = find_board(str(target), folder)
    board = read_board(file)
    if board.suite_file is None:
        raise LeaderboardError(f"{file} does not say which suite it is of")
    suite = expanded(file.parent / board.suite_file)
    if suite.suffix not in SUITE_FILES:
        raise LeaderboardError(
            f"{file} was made by evaluate, or from a dictionary, and there is no suite file to make its jobs again: audit"
            " what Python gave back, audit(result), or write a suite (docs/bring-a-model.md)"
        )
    if not suite.is_file():
        raise LeaderboardError(f"{file} is of the suite {suite}, which is not there")
    labels = tuple(row.label for row in board.rows)
    return AuditTarget(load_suite(suite, board.overrides), file.parent, labels, file)
