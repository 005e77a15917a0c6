"""Comparing leaderboards: pairs where outcomes are there, intervals where not, and no change without evidence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_rows import changed, make_figure, with_row

from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_lookup import find_board, open_board
from robuststack.leaderboard.comparison import compare_boards
from robuststack.leaderboard.row import Figure, Scores
from robuststack.statistics import paired, unpaired


@pytest.fixture(scope="module")
def board(trained) -> Board:
    return read_board(trained.leaderboard / "small.json")


@pytest.fixture(scope="module")
def found(trained, board) -> dict[str, np.ndarray]:
    return board_labels.load_correct(trained.leaderboard / "small.json", board.rows)


def test_a_leaderboard_against_itself_is_no_evidence(board, found):
    same = compare_boards(board, board, found, found)
    assert len(same.changes) == sum(1 + len(row.ra) for row in board.rows)
    assert {one.difference.verdict for one in same.changes} == {"no evidence"}
    assert {one.difference.value for one in same.changes} == {0}
    assert (same.only_old, same.only_new) == ([], [])


def test_images_that_turn_wrong_are_a_change_for_the_worse(board, found):
    (row,) = (one for one in board.rows if one.defense == "none")
    (job,) = row.jobs.scores["adaptive"]["ca"].values()
    altered = {**found, job: np.zeros_like(found[job])}
    worse = {(one.label, one.figure): one.difference for one in compare_boards(board, board, found, altered).changes}
    difference = worse[row.label, "CA"]
    assert difference.verdict == "worse"
    assert difference.value == pytest.approx(-row.ca.value)
    assert difference.p < 1e-6
    assert sum(one.verdict != "no evidence" for one in worse.values()) == 1


def test_without_outcomes_the_printed_intervals_decide(board, found):
    other = with_row(board, 0, ca=make_figure(1))
    changes = compare_boards(board, other, found, {}).changes
    assert {one.difference.method for one in changes} == {"from both intervals"}
    assert [one.figure for one in changes if one.difference.verdict == "worse"] == ["CA"]


def test_every_protocol_is_compared_with_itself():
    path = Path(__file__).parents[2] / "leaderboard" / "float_vs_oat.json"
    board = read_board(path)
    row = next(row for row in board.rows if row.defense == "float")
    adaptive = board_labels.load_correct(path, (row,))
    # The same figures by another protocol, from judge jobs of its own.
    published = {
        figure: {pair: f"{job}-published" for pair, job in jobs.items()}
        for figure, jobs in row.jobs.scores["adaptive"].items()
    }
    jobs = row.jobs.model_copy(update={"scores": {**row.jobs.scores, "published": published}})
    scores = Scores(ca=row.ca, ra=row.ra, attacks=row.attacks)
    row = row.model_copy(update={"jobs": jobs, "protocols": {"published": scores}})
    board = changed(board, rows=(row,))
    found = {**adaptive, **{f"{job}-published": outcome for job, outcome in adaptive.items()}}
    published = row.jobs.scores["published"]["PGD-7"].values()
    altered = {**found, **{job: np.zeros_like(found[job]) for job in published}}
    worse = {one.figure: one.difference for one in compare_boards(board, board, found, altered).changes}
    assert {"CA", "CA (published)", "RA PGD-7", "RA PGD-7 (published)"} <= worse.keys()
    verdicts = {figure for figure, one in worse.items() if one.verdict == "worse"}
    assert verdicts == {"RA PGD-7 (published)", "RA worst (published)"}
    assert worse["RA PGD-7 (published)"].value == pytest.approx(-row.protocols["published"].ra["PGD-7"].value)


def test_worst_cases_of_other_attacks_have_no_pairs(board, found):
    """Outcomes of the attacks that both have would give another difference than that of the two printed figures."""
    row = board.rows[0]
    fewer = {label: figure for label, figure in row.ra.items() if label != "FGSM"}
    (change,) = [
        change
        for change in compare_boards(with_row(board, 0, ra=fewer), board, found, found).changes
        if (change.label, change.figure) == (row.label, "RA worst")
    ]
    assert change.difference.method == "from both intervals"
    assert change.difference.value == change.new - change.old


def test_rows_of_only_one_side_are_named(board, found):
    shorter = changed(board, rows=board.rows[1:])
    assert compare_boards(board, shorter, found, found).only_old == [board.rows[0].label]
    assert compare_boards(shorter, board, found, found).only_new == [board.rows[0].label]


def test_other_suites_and_other_data_are_refused(board, found):
    with pytest.raises(LeaderboardError, match="of different suites, 'small' and 'other'"):
        compare_boards(board, changed(board, suite="other"), found, found)
    other = with_row(board, 0, n=7)
    with pytest.raises(LeaderboardError, match="n is 200 in the one and 7 in the other"):
        compare_boards(board, other, found, found)
    other = with_row(board, 0, split="validation")
    with pytest.raises(LeaderboardError, match="split is 'test' in the one and 'validation' in the other"):
        compare_boards(board, other, found, found)


# --- statistics


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_interval_of_a_difference_covers_it(stochastic):
    """Nine tenths of the 95 % intervals, at the very least, hold the true difference of 10 points."""
    random = np.random.RandomState(0)
    draws = 8 if stochastic else 1
    covered = 0
    for _ in range(60):
        base = random.random_sample((1, 300))
        noise = random.random_sample((2, draws, 300)) * 0.2
        first, second = (base + noise[0] < 0.5), (base + noise[1] < 0.6)
        found = paired([[first]], [[second]], stochastic=(stochastic, stochastic))
        covered += found.low <= 10 <= found.high
    assert covered >= 54


def test_pairing_sees_what_two_intervals_cannot():
    random = np.random.RandomState(1)
    first = random.random_sample((1, 1000)) < 0.5
    second = first.copy()
    second[0, np.flatnonzero(~first[0])[:20]] = True
    ends = [
        Figure(value=value, low=value - 3, high=value + 3, interval="wilson")
        for value in (100 * float(outcome.mean()) for outcome in (first, second))
    ]
    assert paired([[first]], [[second]], stochastic=(False, False)).verdict == "better"
    assert unpaired(*ends).verdict == "no evidence"


# --- the command


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
    now, now_outcomes = open_board("small.json", tmp_path)
    Path("small.json").write_text("{}")
    then, then_outcomes = open_board("HEAD:small.json", tmp_path)
    assert then == now
    assert then_outcomes.keys() == now_outcomes.keys()
    with pytest.raises(LeaderboardError, match=r"git has no gone\.json at revision 'HEAD'"):
        open_board("HEAD:gone.json", tmp_path)
    with pytest.raises(LeaderboardError, match=r"no leaderboard 'smal' in .*: did you mean 'small'"):
        find_board("smal", tmp_path)


def test_compare_prints_what_changed(trained, tmp_path, capsys):
    source = trained.leaderboard / "small.json"
    (tmp_path / "new.json").write_text(board_json(with_row(read_board(source), 0, ca=make_figure(1))))
    assert call(["leaderboard", "compare", str(source), str(tmp_path / "new.json")]) == 0
    out = capsys.readouterr().out
    assert "worse" in out
    assert "1 changed" in out
    assert call(["leaderboard", "compare", str(source), str(source), "--json"]) == 0
    assert {one["verdict"] for one in json.loads(capsys.readouterr().out)["changes"]} == {"no evidence"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not a leaderboard written by robuststack"),
        ("[", "cannot be read as a leaderboard"),
        ('{"schema": 99, "rows": []}', "has schema 99, this version reads 2: upgrade robuststack"),
        ('{"schema": 1, "rows": []}', "has schema 1, this version reads 2: run its suite again"),
        ('{"schema": 2, "rows": [{"label": "a"}]}', "a: key 'ca' is missing; run its suite again to write it whole"),
    ],
)
def test_files_that_are_no_leaderboards_are_one_line(tmp_path, capsys, content, message):
    (tmp_path / "bad.json").write_text(content)
    assert call(["leaderboard", "show", str(tmp_path / "bad.json")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
