"""Leaderboards read anew: another reading of the labels that were kept, without a new attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from robuststack.errors import LeaderboardError
from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.board_lookup import load_labels
from robuststack.leaderboard.figures import read_scores
from robuststack.leaderboard.row import ReadScores, Row, Scores

S = TypeVar("S", bound=Scores)


def with_reading(board: Board, reading: str, labels: Mapping[str, Labels] | None = None) -> Board:
    """The leaderboard with a reading of every row, also one that its suite did not ask for: `majority 5` or `any 10`, then
    under `row.readings["majority 5"]`. `labels` are those beside the board, which are read where they are needed.

    Raises:
        LeaderboardError: there are no labels beside it, or a row has fewer draws than the reading takes.
        UnknownReading: the text names no reading.
    """
    parsed = Reading.parse(reading)
    if parsed == EXPECTED or all(_has(row, str(parsed)) for row in board.rows):
        return board
    kept = load_labels(board) if labels is None else labels
    return board.model_copy(update={"rows": tuple(_reread(row, parsed, kept) for row in board.rows)})


def _has(row: Row, reading: str) -> bool:
    return all(reading in scores.readings for scores in row.scores.values())


def _reread(row: Row, reading: Reading, labels: Mapping[str, Labels]) -> Row:
    read = {protocol: _read(row, protocol, reading, labels) for protocol in row.scores}
    protocols = {name: _added(scores, reading, read[name]) for name, scores in row.protocols.items()}
    return _added(row, reading, read[row.protocol]).model_copy(update={"protocols": protocols})


def _read(row: Row, protocol: str, reading: Reading, labels: Mapping[str, Labels]) -> ReadScores:
    def of_job(job: str) -> Labels:
        if job not in labels:
            raise LeaderboardError(f"{row.label}: the labels beside the leaderboard lack {job}; run its suite again")
        return labels[job]

    jobs = row.jobs.scores[protocol]
    try:
        return read_scores(jobs, of_job, reading, macs=row.macs, latency_ms=row.latency_ms)
    except TooFewDraws as error:
        raise LeaderboardError(f"{row.label}: {error} and run its suite again") from None


def _added(scores: S, reading: Reading, read: ReadScores) -> S:
    return scores.model_copy(update={"readings": {**scores.readings, str(reading): read}})
