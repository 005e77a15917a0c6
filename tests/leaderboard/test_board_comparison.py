"""Comparing leaderboards: images are paired, all figures are asked together, and without labels there is no verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_rows import changed, make_figure, with_row

from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.evidence.readings import Reading
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.board_comparison import compare_boards
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.row import Scores


@pytest.fixture(scope="module")
def board(trained) -> Board:
    return read_board(trained.leaderboard / "small.json")


@pytest.fixture(scope="module")
def labels(trained) -> dict[str, Labels]:
    return board_labels.load(trained.leaderboard / "small.json")


def all_wrong(judged: Labels) -> Labels:
    return replace(judged, labels=np.full_like(judged.labels, -1))


def test_a_leaderboard_against_itself_is_undecided(board, labels):
    same = compare_boards(board, board, labels, labels)
    assert len(same.changes) == sum(1 + len(row.ra) for row in board.rows)
    assert {change.difference.verdict for change in same.changes} == {"undecided"}
    assert {change.difference.value for change in same.changes} == {0}
    assert (same.only_old, same.only_new, same.decisive) == ((), (), [])


def test_images_that_turn_wrong_are_a_change_for_the_worse(board, labels):
    (row,) = (row for row in board.rows if row.defense == "none")
    (job,) = row.jobs.scores["adaptive"]["ca"].values()
    altered = {**labels, job: all_wrong(labels[job])}
    (change,) = compare_boards(board, board, labels, altered).decisive
    assert (change.label, change.difference.figure, change.difference.verdict) == (row.label, "CA", "worse")
    assert change.difference.value == pytest.approx(-row.ca.value, abs=1e-3)
    assert (change.difference.first, change.difference.second) == pytest.approx((0, row.ca.value), abs=1e-3)


def test_without_labels_there_is_an_interval_and_no_verdict(board, labels):
    other = with_row(board, 0, ca=make_figure(1))
    changes = compare_boards(board, other, labels, {}).changes
    assert {change.difference.verdict for change in changes} == {"no verdict"}
    assert {change.difference.p for change in changes} == {None}
    clean = changes[0].difference
    assert clean.value == pytest.approx(1 - board.rows[0].ca.value)
    assert clean.low < clean.value < clean.high < 0


def test_another_reading_needs_the_labels(board, labels):
    """The printed figures are of the expected reading: they may not stand for another one."""
    tries = Reading.parse("any 2")
    with pytest.raises(LeaderboardError, match="the labels of CA are missing"):
        compare_boards(board, board, labels, {}, tries)
    fewer = {label: figure for label, figure in board.rows[0].ra.items() if label != "FGSM"}
    changes = compare_boards(with_row(board, 0, ra=fewer), board, labels, labels, tries).changes
    assert "intervals alone" not in {change.difference.scope for change in changes}


def test_many_figures_are_corrected_together(board, labels):
    """A change that alone is evidence is none among all the figures of a leaderboard."""
    row = next(row for row in board.rows if row.defense == "none")
    (job,) = row.jobs.scores["adaptive"]["ca"].values()
    turned = labels[job].labels.copy()
    turned[0, np.flatnonzero(labels[job].correct[0])[:6]] = -1
    altered = {**labels, job: replace(labels[job], labels=turned)}
    alone = changed(board, rows=(row,))
    figures = [compare_boards(one, one, labels, altered).changes for one in (alone, board)]
    p_values = [
        next(change.difference.p for change in changes if (change.label, change.difference.figure) == (row.label, "CA"))
        for changes in figures
    ]
    assert p_values[0] < p_values[1]
    assert p_values[1] == pytest.approx(min(1, p_values[0] / len(figures[0]) * len(figures[1])))


def test_every_protocol_is_compared_with_itself():
    path = Path(__file__).parents[2] / "leaderboard" / "float_vs_oat.json"
    board = read_board(path)
    row = next(row for row in board.rows if row.defense == "float")
    adaptive = board_labels.load(path)
    # The same figures by another protocol, from judge jobs of its own.
    published = {
        figure: {pair: f"{job}-published" for pair, job in jobs.items()}
        for figure, jobs in row.jobs.scores["adaptive"].items()
    }
    jobs = row.jobs.model_copy(update={"scores": {**row.jobs.scores, "published": published}})
    scores = Scores(ca=row.ca, ra=row.ra, attacks=row.attacks)
    row = row.model_copy(update={"jobs": jobs, "protocols": {"published": scores}})
    board = changed(board, rows=(row,))
    labels = {**adaptive, **{f"{job}-published": judged for job, judged in adaptive.items()}}
    altered = {**labels, **{job: all_wrong(labels[job]) for job in published["PGD-7"].values()}}
    changes = compare_boards(board, board, labels, altered)
    names = {change.difference.figure for change in changes.changes}
    assert {"CA", "CA (published)", "RA PGD-7", "RA PGD-7 (published)"} <= names
    worse = {change.difference.figure for change in changes.decisive}
    assert worse == {"RA PGD-7 (published)", "RA worst (published)"}


def test_worst_cases_of_other_attacks_have_no_pairs(board, labels):
    """Labels of the attacks that both have would give another difference than that of the two printed figures."""
    row = board.rows[0]
    fewer = {label: figure for label, figure in row.ra.items() if label != "FGSM"}
    (change,) = [
        change
        for change in compare_boards(with_row(board, 0, ra=fewer), board, labels, labels).changes
        if (change.label, change.difference.figure) == (row.label, "RA worst")
    ]
    assert change.difference.scope == "intervals alone"


def test_rows_of_only_one_side_are_named(board, labels):
    shorter = changed(board, rows=board.rows[1:])
    assert compare_boards(board, shorter, labels, labels).only_old == (board.rows[0].label,)
    assert compare_boards(shorter, board, labels, labels).only_new == (board.rows[0].label,)


def test_other_suites_and_other_data_are_refused(board, labels):
    with pytest.raises(LeaderboardError, match="of different suites, 'small' and 'other'"):
        compare_boards(board, changed(board, suite="other"), labels, labels)
    for key, value, other in (("n", "200", "7"), ("split", "'test'", "'validation'")):
        new = with_row(board, 0, **{key: json.loads(other.replace("'", '"'))})
        message = f"judged on other images, {key} is {other} in the one and {value} in the other"
        with pytest.raises(LeaderboardError, match=message):
            compare_boards(board, new, labels, labels)


def test_compare_prints_what_changed(trained, tmp_path, capsys, board, labels):
    source = trained.leaderboard / "small.json"
    (job,) = board.rows[0].jobs.scores["adaptive"]["ca"].values()
    new = tmp_path / "new.json"
    new.write_text(board_json(board))
    board_labels.save(board_labels.path_of(new), {**labels, job: all_wrong(labels[job])})
    assert call(["leaderboard", "compare", str(source), str(new)]) == 0
    out = capsys.readouterr().out
    assert "worse" in out
    assert "1 changed" in out
    board_labels.path_of(new).unlink()
    assert call(["leaderboard", "compare", str(source), str(new)]) == 0
    assert "without labels beside both: intervals alone, which give no verdict" in capsys.readouterr().out
    assert call(["leaderboard", "compare", str(source), str(source), "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert {change["difference"]["verdict"] for change in changes} == {"undecided"}
