"""Readings: of a suite, in its rows and tables, and of old labels that nobody asked for then."""

from __future__ import annotations

import csv
import io

import pytest
from made_rows import changed

import robuststack as rs
from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.evidence.readings import Reading, UnknownReading
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.formats import written
from robuststack.leaderboard.table import tables

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 20}
defenses: {name: float, points: {lambda_n: [0, 0.5]}}
attacks: [fgsm, {name: pgd, options: {steps: 2, draws: 1}}]
evaluate: {readings: [majority 3, any 2], protocols: [adaptive, published]}
measure: {repeats: 3, batch_size: 8}
precision: float32
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> rs.Result:
    folder = tmp_path_factory.mktemp("read")
    (folder / "read.yaml").write_text(SUITE)
    return rs.run(folder / "read.yaml", store=folder / "store", leaderboard=folder / "boards", device="cpu")


@pytest.fixture(scope="module")
def board(result) -> Board:
    return rs.load_board(result.files[0])


def test_rows_have_the_readings_that_the_suite_asks_for(result, board):
    assert list(board.rows) == result.rows
    still, noisy = board.rows
    assert noisy.draws == 20
    for row in (still, noisy):
        for scores in row.scores.values():
            assert scores.readings.keys() == {"majority 3", "any 2"}
            assert scores.readings["any 2"].ra.keys() == scores.ra.keys()
            assert scores.readings["any 2"].worst.value <= scores.worst.value + 1e-9
    assert (still.readings["majority 3"].passes, noisy.readings["majority 3"].passes) == (1, 3)
    assert noisy.readings["majority 3"].macs == 3 * noisy.macs
    assert noisy.readings["majority 3"].latency_ms[8].median == pytest.approx(3 * noisy.latency_ms[8].median)
    assert still.readings["any 2"].ca.value == still.ca.value


def test_old_labels_can_be_read_in_a_way_nobody_asked_for(board):
    noisy = rs.with_reading(board, "any 5").rows[1]
    labels = rs.load_labels(board)
    for protocol, scores in noisy.scores.items():
        for label in ("FGSM", "PGD-2"):
            judged = labels[noisy.jobs.scores[protocol][label]["0/0"]]
            expected = Reading("any", 5).per_image(judged.labels, judged.truth).mean()
            assert scores.readings["any 5"].ra[label].value == pytest.approx(100 * expected, abs=1e-3)
    # The same as the suite's own, where it asked.
    without = changed(board, rows=tuple(changed(row, readings={}) for row in board.rows))
    assert rs.with_reading(without, "any 2").rows[1].readings["any 2"] == board.rows[1].readings["any 2"]
    assert rs.with_reading(board, "expected") is board


def test_what_cannot_be_read_is_one_line(board, tmp_path):
    with pytest.raises(
        LeaderboardError, match=r"float .*: any 30 needs 30 judging draws, not 20; set evaluate\.draws to 120"
    ):
        rs.with_reading(board, "any 30")
    with pytest.raises(UnknownReading, match="'most of 5' is no reading; write expected, majority R or any N, such as"):
        rs.with_reading(board, "most of 5")
    with pytest.raises(LeaderboardError, match=r"the labels beside the leaderboard lack judge-"):
        rs.with_reading(board, "any 3", labels={})


@pytest.mark.parametrize("text", ["expected", "majority 5", "any 10"])
def test_a_reading_is_written_as_it_is_read(text):
    assert str(Reading.parse(text)) == text


@pytest.mark.parametrize("text", ["", "any", "any 0", "any -1", "any 1.5", "majority of 5", "expected 3", "any ²"])
def test_other_texts_are_no_readings(text):
    with pytest.raises(UnknownReading, match="is no reading"):
        Reading.parse(text)


def test_every_reading_is_a_table_of_its_own_and_stands_in_for_the_main_one(board):
    headings = [heading for heading, _ in tables(board, "github")]
    main = board.rows[0].heading
    assert {main, f"{main}, any 2", f"{main}, majority 3"} <= set(headings)
    ((heading, table),) = tables(board, "github", reading="any 2")
    assert heading == f"{main}, any 2"
    assert board.rows[1].readings["any 2"].worst.text in table
    assert board.rows[1].under("majority 3").macs == 3 * board.rows[1].macs


def test_csv_has_a_line_for_each_reading(board):
    cells = list(csv.DictReader(io.StringIO(written(board, "csv"))))
    assert [line["reading"] for line in cells[:3]] == ["expected", "any 2", "majority 3"]
    assert float(cells[5]["RA worst"]) == board.rows[1].readings["majority 3"].worst.value
    (_, noisy, *others) = csv.DictReader(io.StringIO(written(board, "csv", reading="any 2")))
    assert {line["protocol"] for line in others}.isdisjoint({board.rows[0].protocol})
    assert float(noisy["CA"]) == board.rows[1].readings["any 2"].ca.value


def test_show_prints_any_reading(board, capsys):
    path = str(board.file)
    assert call(["leaderboard", "show", path, "--reading", "any 7", "--sort", "RA", "--format", "csv"]) == 0
    lines = csv.DictReader(io.StringIO(capsys.readouterr().out))
    read = {line["point"]: line for line in lines if line["protocol"] == board.rows[0].protocol}
    worst = [float(line["RA worst"]) for line in read.values()]
    assert worst == sorted(worst, reverse=True)
    by_point = rs.with_reading(board, "any 7").rows[1]
    assert float(read["lambda_n=0.5 lambda_th=0"]["RA worst"]) == by_point.readings["any 7"].worst.value
    assert call(["leaderboard", "show", path, "--reading", "any 15"]) == 0  # No interval.
    assert call(["leaderboard", "show", path, "--reading", "any 99"]) == 2
    assert "set evaluate.draws to 396" in capsys.readouterr().err
    assert call(["leaderboard", "show", path, "--reading", "often"]) == 2
    assert "'often' is no reading" in capsys.readouterr().err
