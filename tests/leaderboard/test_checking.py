"""Files that are no leaderboard, and leaderboards edited by hand: one line that says what is missing, in which row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.checking import ROW_KEYS, checked

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "float_vs_oat.json"
LABEL = "digits/resnet8/float lambda_n=0 lambda_th=0"
AGAIN = "run its suite again to write it whole"


@pytest.fixture
def board() -> dict[str, Any]:
    return json.loads(COMMITTED.read_text())


def test_a_whole_board_is_given_back(board):
    assert checked(board, "a.json") is board


@pytest.mark.parametrize(
    "content", [None, [], 3, {}, {"rows": []}, {"schema": "1", "rows": []}, {"schema": 1, "rows": {}}]
)
def test_what_is_no_leaderboard_is_said_to_be_none(content):
    with pytest.raises(LeaderboardError, match=r"^a\.json is not a leaderboard written by robuststack$"):
        checked(content, "a.json")


def test_a_newer_schema_is_refused(board):
    with pytest.raises(LeaderboardError, match=r"^a\.json has schema 2, this version reads 1: upgrade robuststack$"):
        checked({**board, "schema": 2}, "a.json")


@pytest.mark.parametrize("key", ROW_KEYS)
def test_every_key_of_a_row_is_missed(board, key):
    del board["rows"][0][key]
    with pytest.raises(LeaderboardError, match=f"has no '{key}'; {AGAIN}"):
        checked(board, "a.json")


def scored(row: dict[str, Any]) -> dict[str, Any]:
    row["protocols"]["published"] = {"ca": dict(row["ca"]), "ra": {"worst": dict(row["ra"]["worst"])}}
    return row["protocols"]["published"]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda row: row.update(ca=98.8), "has no figure at 'ca'"),
        (lambda row: row["ca"].pop("low"), "has no number at 'ca.low'"),
        (lambda row: row["ca"].update(value="98.8"), "has no number at 'ca.value'"),
        (lambda row: row["ca"].update(value=float("nan")), "has no number at 'ca.value'"),
        (lambda row: row["ra"].pop("worst"), "has no figure at 'ra.worst'"),
        (lambda row: row["ra"]["PGD-7"].pop("high"), "has no number at 'ra.PGD-7.high'"),
        (lambda row: scored(row)["ra"]["worst"].pop("value"), "has no number at 'protocols.published.ra.worst.value'"),
        (lambda row: scored(row).pop("ca"), "has no figure at 'protocols.published.ca'"),
        (lambda row: row.update(parameters="many"), "has parameters 'many', not a count"),
        (lambda row: row["latency_ms"]["1"].pop("median"), "has no number at 'latency_ms.1.median'"),
        (lambda row: row["threat"].pop("eps"), "has no 'threat.eps'"),
        (lambda row: row["seeds"].pop("train"), "has no 'seeds.train'"),
        (lambda row: row["checks"].pop("clipped"), "has no 'checks.clipped'"),
        (lambda row: row["jobs"]["adaptive"].pop("PGD-20"), "has no jobs of 'PGD-20'"),
    ],
)
def test_a_figure_that_is_missing_is_named(
    board: dict[str, Any], edit: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path, capsys: Any
) -> None:
    edit(board["rows"][0])
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(board))
    for command in (["show", path], ["compare", COMMITTED, path], ["build", "--leaderboard", tmp_path]):
        assert call(["leaderboard", *map(str, command)]) == 2
        assert capsys.readouterr().err == f"robuststack: error: {path}: {LABEL} {problem}; {AGAIN}\n"
    assert list(tmp_path.iterdir()) == [path], "nothing half-written"


def test_a_row_that_is_none_and_a_label_twice_are_named(board):
    with pytest.raises(LeaderboardError, match=r"a\.json: row 33 is not a row"):
        checked({**board, "rows": [*board["rows"], 7]}, "a.json")
    with pytest.raises(LeaderboardError, match=rf"a\.json: 2 rows are named '{LABEL}'"):
        checked({**board, "rows": [*board["rows"], board["rows"][0]]}, "a.json")
    with pytest.raises(LeaderboardError, match=r"a\.json has no 'claims'"):
        checked({key: value for key, value in board.items() if key != "claims"}, "a.json")


def test_leaderboards_of_different_suites_are_not_compared(capsys):
    other = COMMITTED.with_name("cpu_fig07.json")
    assert call(["leaderboard", "compare", str(COMMITTED), str(other)]) == 2
    err = capsys.readouterr().err
    assert "of different suites, 'float_vs_oat' and 'cpu_fig07'; compare two of the same" in err
    assert err.count("\n") == 1
