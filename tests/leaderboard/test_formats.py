"""Leaderboards in the formats of other programs, and ranked."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from made_rows import changed, make_row

from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.formats import FORMATS, written
from robuststack.leaderboard.keys import look_up
from robuststack.leaderboard.markdown import markdown
from robuststack.leaderboard.ranking import ranked

CLAIMS = Path(__file__).parents[2] / "leaderboard" / "claims.json"


@pytest.fixture(scope="module")
def board(trained) -> Board:
    return read_board(trained.leaderboard / "small.json")


@pytest.mark.parametrize("style", FORMATS)
def test_every_row_is_in_every_format(board, style):
    text = written(board, style)
    for row in board.rows:
        assert row.defense.replace("_", r"\_" if style == "latex" else "_") in text
        assert f"{row.ca.value:.1f}" in text


def test_json_is_the_file(board):
    assert Board.model_validate_json(written(board, "json")) == board


def test_csv_has_bare_numbers(board):
    rows = list(csv.DictReader(io.StringIO(written(board, "csv"))))
    assert len(rows) == len(board.rows)
    for cells, row in zip(rows, board.rows, strict=True):
        assert float(cells["CA"]) == row.ca.value
        assert float(cells["RA worst low"]) == row.worst.low
        assert int(cells["parameters"]) == row.parameters
        assert float(cells["eps"]) == row.threat.eps


def test_csv_has_every_protocol_of_a_row():
    claims = read_board(CLAIMS)
    lines = [cells for cells in csv.DictReader(io.StringIO(written(claims, "csv"))) if cells["reading"] == "expected"]
    assert [cells["defense"] for cells in lines[: len(claims.rows)]] == [row.title for row in claims.rows]
    found = {(cells["defense"], cells["protocol"]): cells for cells in lines}
    assert len(found) == sum(len(row.scores) for row in claims.rows) > len(claims.rows)
    for row in claims.rows:
        for protocol, scores in row.scores.items():
            cells = found[row.title, protocol]
            assert float(cells["RA worst"]) == scores.worst.value
            assert float(cells["CA high"]) == scores.ca.high
            assert cells["draws"] == (str(row.draws) if protocol == row.protocol else "")


def test_attacks_whose_names_have_dots_keep_their_figures(board):
    name = "PGD-20 step=0.01"
    rows = [changed(row, ra={name: row.ra["FGSM"], "worst": row.worst}) for row in board.rows]
    dotted = changed(board, rows=tuple(rows), attacks=(changed(board.attacks[0], label=name),))
    cells = list(csv.DictReader(io.StringIO(written(dotted, "csv"))))
    assert [float(cell[f"RA {name}"]) for cell in cells] == [row.ra["FGSM"].value for row in board.rows]
    assert ranked(rows, f"ra.{name}")[0].ra == max(rows, key=lambda row: row.ra[name].value).ra
    assert look_up(make_row(point={"lambda": 1}), "point.lambda_n") is None


def test_the_split_is_told(board):
    other = changed(board, rows=tuple(changed(row, split="validation") for row in board.rows))
    for told, split in ((board, "test"), (other, "validation")):
        assert {cells["split"] for cells in csv.DictReader(io.StringIO(written(told, "csv")))} == {split}
        assert f"200 {split} images" in markdown(told, {})


def test_latex_is_booktabs(board):
    assert written(board, "latex").count(r"\toprule") == 2  # The rows, and each defense as one entry.


@pytest.mark.parametrize(
    ("key", "descending"),
    [("RA", True), ("ca", True), ("ra.FGSM", True), ("FGSM", True), ("worst", True), ("parameters", False)],
)
def test_the_best_row_comes_first(board, key, descending):
    value = {
        "RA": lambda row: row.worst.value,
        "ca": lambda row: row.ca.value,
        "ra.FGSM": lambda row: row.ra["FGSM"].value,
        "FGSM": lambda row: row.ra["FGSM"].value,
        "worst": lambda row: row.worst.value,
        "parameters": lambda row: row.parameters,
    }[key]
    values = [value(row) for row in ranked(board.rows, key)]
    assert values == sorted(values, reverse=descending)


def test_tables_are_ranked_each_by_itself(board):
    other = [changed(row, variant=("digits", "resnet8")) for row in board.rows]
    rows = ranked([*board.rows, *other], "RA")
    assert [row.variant[0] for row in rows] == ["tradeoff"] * 6 + ["digits"] * 6


def test_what_nobody_could_count_is_no_smallest_count(board):
    first, *others = board.rows
    uncounted = changed(first, macs=0, parameters=0, nonzero_parameters=0)
    rows = [uncounted, *others]
    for key in ("macs", "parameters", "nonzero_parameters"):
        assert ranked(rows, key)[-1] is uncounted
    (cells, *_) = csv.DictReader(io.StringIO(written(changed(board, rows=tuple(rows)), "csv")))
    assert [cells[key] for key in ("macs", "parameters", "nonzero_parameters")] == ["", "", ""]


def test_an_unknown_key_is_refused(board):
    with pytest.raises(LeaderboardError, match="--sort parameter: no row has such a number: did you mean 'parameters'"):
        ranked(board.rows, "parameter")


def test_show_prints_it(trained, capsys):
    folder = str(trained.leaderboard)
    assert call(["leaderboard", "show", "small", "--leaderboard", folder, "--sort", "RA", "--format", "markdown"]) == 0
    assert "| float" in capsys.readouterr().out
    assert call(["leaderboard", "show", "smal", "--leaderboard", folder]) == 2
    assert "did you mean 'small'" in capsys.readouterr().err
