"""A tunable defense as one entry: front, hypervolume, knee, dominated settings."""

from __future__ import annotations

import numpy as np
import pytest
from made_rows import changed

from robuststack.evidence.front import hypervolume
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.entries import entry_cells, make_entries


def test_the_rows_of_one_model_are_one_entry(trained):
    board = read_board(trained.leaderboard / "small.json")
    entries = {entry.defense: entry for entry in board.entries}
    assert list(board.entries) == make_entries(board.rows, board_labels.load(trained.leaderboard / "small.json"))
    assert {name: entry.settings for name, entry in entries.items()} == {"none": 1, "pgd_at": 1, "float": 2, "oat": 2}
    assert {entry.models for entry in entries.values()} == {1}
    rows = [row for row in board.rows if row.defense == "float"]
    assert entries["float"].hypervolume == pytest.approx(
        hypervolume(np.array([(row.ca.value, row.worst.value) for row in rows])), abs=0.01
    )
    assert entry_cells(entries["oat"])[:4] == ["tradeoff, resnet8", "oat dim=4", "1", "2"]


def test_models_that_are_trained_for_each_setting_are_counted(trained):
    rows = read_board(trained.leaderboard / "small.json").rows
    pgd_at = next(row for row in rows if row.defense == "pgd_at")
    more = [pgd_at, changed(pgd_at, point={"lambda": 0.5})]
    assert [entry.models for entry in make_entries(more, {})] == [2]


def test_a_tuned_defense_that_is_trained_several_ways_is_an_entry_each(trained):
    rows = read_board(trained.leaderboard / "small.json").rows
    ours = [row for row in rows if row.defense == "oat"]
    swept = [
        changed(row, retrained=("dim",), point={"dim": dim, **row.point}) for dim in (4, 8) for row in ours
    ]  # fmt: skip
    entries = make_entries(swept, {})
    assert [(entry.shown["dim"], entry.models, entry.settings) for entry in entries] == [(4, 1, 2), (8, 1, 2)]
    assert {setting for entry in entries for setting in entry.dominated} <= {"lambda=0", "lambda=1"}


def test_each_width_is_an_entry(trained):
    rows = read_board(trained.leaderboard / "small.json").rows
    ours = [row for row in rows if row.defense == "float"]
    slim = [changed(row, point={**row.point, "width": width}) for width in (0.5, 1.0) for row in ours]
    assert [entry.shown["width"] for entry in make_entries(slim, {})] == [0.5, 1.0]


def test_an_entry_says_how_sure_it_is(trained):
    path = trained.leaderboard / "small.json"
    rows, labels = read_board(path).rows, board_labels.load(path)
    for entry in make_entries(rows, labels):
        sure = entry.certainty
        assert sure.low <= entry.hypervolume <= sure.high
        assert sure.low < sure.high
        assert len(sure.dominated) == entry.settings
        cells = entry_cells(entry)
        assert cells[4] == f"{entry.hypervolume:.1f} [{sure.low:.1f}, {sure.high:.1f}]"
        for name in entry.dominated:
            assert sure.dominated[name] > 0
            assert f"{name} ({100 * sure.dominated[name]:.0f} %)" in cells[6]
    # Without labels there is nothing to draw fronts from.
    bare = make_entries(rows, {})
    assert {entry.certainty for entry in bare} == {None}
    assert entry_cells(bare[0])[4] == f"{bare[0].hypervolume:.1f}"
