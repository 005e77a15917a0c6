"""A leaderboard and its labels as a user names them: by file, name or revision, and one line if they are missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import robuststack as rs
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board import board_json
from robuststack.leaderboard.board_lookup import find_board, open_board


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


def test_boards_are_found_by_name_file_and_revision(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in trained.leaderboard.glob("small.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *command], check=True)
    assert find_board("small", tmp_path) == tmp_path / "small.json"
    now, now_labels = open_board("small.json", tmp_path)
    Path("small.json").write_text("{}")
    then, then_labels = open_board("HEAD:small.json", tmp_path)
    assert then == now
    assert then_labels.keys() == now_labels.keys()
    with pytest.raises(LeaderboardError, match=r"git has no gone\.json at revision 'HEAD'"):
        open_board("HEAD:gone.json", tmp_path)
    with pytest.raises(LeaderboardError, match=r"no leaderboard 'smal' in .*: did you mean 'small'"):
        find_board("smal", tmp_path)
