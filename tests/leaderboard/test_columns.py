"""`leaderboard show --columns --bold`: chosen columns, and the best row of each in bold."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from made_rows import make_figure, make_row

from robuststack.cli import call
from robuststack.leaderboard.columns import Shown, accuracies, column_names, columns, named

BOARD = str(Path(__file__).parents[2] / "leaderboard" / "regress.json")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert call(["leaderboard", "show", BOARD, *arguments]) == 0
    return capsys.readouterr().out


def header(text: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith("|"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_chosen_columns_stand_in_their_order_behind_what_a_row_is(capsys):
    text = shown(capsys, "--format", "markdown", "--columns", "MACs, ra worst,CA %,PGD-5,ms, batch 1")
    assert header(text) == ["defense", "point", "MACs", "RA worst %", "CA %", "RA PGD-5 %", "ms, batch 1"]
    assert text.count("## ") == 1, "the rows' table is all there is"


def test_csv_has_the_chosen_columns_with_their_intervals(capsys):
    text = shown(capsys, "--format", "csv", "--columns", "worst,macs")
    names = next(csv.reader(io.StringIO(text)))
    figure = ["RA worst", "RA worst low", "RA worst high", "RA worst lowest seed", "RA worst highest seed"]
    assert names[11:] == [*figure, "macs"]
    assert names[:11] == next(csv.reader(io.StringIO(shown(capsys, "--format", "csv"))))[:11]


def test_without_a_choice_nothing_is_left_out(capsys):
    assert len(header(shown(capsys, "--format", "markdown"))) > 8


def test_the_best_rows_are_bold_and_those_that_print_the_same(capsys):
    rows = [
        make_row(label=label, ca=make_figure(ca), ra={"worst": make_figure(ra)}, macs=macs)
        for label, ca, ra, macs in (("a", 98.04, 1.0, 200), ("b", 98.01, 7.0, 100), ("c", 97.9, 6.9, 100))
    ]
    every = [column.name for column in columns(rows, [], {})]
    assert every[:4] == ["defense", "point", "CA %", "RA worst %"]
    text = Shown(("ca", "worst", "macs"), bold=True).table(columns(rows, [], {}), rows, "github")
    bold = [
        [cell.strip().startswith("**") for cell in line.strip("|").split("|")][2:] for line in text.splitlines()[2:]
    ]
    assert bold == [[True, False, False], [True, True, True], [False, False, True]]
    assert Shown(bold=True).table([*named(), *accuracies([])], rows[:1], "github").count("**") == 0, "of one row, none"


def test_latex_has_bold_commands_and_no_marks(capsys):
    text = shown(capsys, "--format", "latex", "--columns", "CA", "--bold")
    assert r"\textbf{9" in text
    assert not {"\x01", "\x02"} & set(text)
    assert text.count("{") == text.count("}")


def test_names_with_a_comma_are_one_name():
    assert column_names("CA,ms, batch 128, worst") == ("CA", "ms, batch 128", "worst")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "PGD-50"], "--columns PGD-50: no such column: did you mean 'RA PGD-5'?"),
        (["--columns", "PGD-50", "--format", "csv"], "--columns PGD-50: no such column: did you mean 'RA PGD-5'"),
        (["--columns", "CA", "--format", "json"], "--columns is for tables and CSV: JSON holds all of a leaderboard"),
        (["--bold"], "--bold is for --format markdown and latex, not for text"),
        (["--bold", "--format", "csv"], "--bold is for --format markdown and latex, not for csv"),
    ],
)
def test_what_cannot_be_shown_is_one_line(capsys, arguments, message):
    assert call(["leaderboard", "show", BOARD, *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
