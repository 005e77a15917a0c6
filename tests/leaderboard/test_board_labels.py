"""Reading a leaderboard and its labels: by file and by name, and one line where they are missing."""

from __future__ import annotations

import shutil

import pytest

import robuststack as rs
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board import board_json


def test_a_board_and_its_labels_are_read_by_file_and_by_name(trained):
    path = trained.leaderboard / "small.json"
    board = rs.load_board(path)
    assert board == rs.load_board("small", leaderboard=trained.leaderboard)
    assert board.file == path
    labels = rs.load_labels(board)
    assert labels.keys() == rs.load_labels(path).keys() == {job for row in board.rows for job in row.jobs.scored()}
    row = board.rows[0]
    (job,) = row.jobs.scores[row.protocol]["ca"].values()
    assert 100 * labels[job].correct.mean() == pytest.approx(row.ca.value, abs=1e-3)
    assert repr(board) == "Board('small', 6 rows)"


def test_labels_that_are_not_there_are_one_line(trained, tmp_path):
    shutil.copy(trained.leaderboard / "small.json", tmp_path)
    board = rs.load_board(tmp_path / "small.json")
    missing = r"small\.json has no labels beside it: small\.labels\.safetensors is missing; run its suite again"
    with pytest.raises(LeaderboardError, match=missing):
        rs.load_labels(board)
    made = rs.Board.model_validate_json(board_json(board))
    with pytest.raises(LeaderboardError, match="was not read from a file: open it with load_board"):
        rs.load_labels(made)
    with pytest.raises(LeaderboardError, match="no leaderboard 'smal' in"):
        rs.load_board("smal", leaderboard=tmp_path)
