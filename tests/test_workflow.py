"""The sample workflow of the TRADES package: it parses, and says what the command line understands."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
import yaml

from robuststack.cli.regress import command
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board_file import read_board
from robuststack.suite.loading import load_suite

PACKAGE = Path(__file__).parents[1] / "plugins" / "robuststack-trades"
WORKFLOW = yaml.safe_load((PACKAGE / ".github" / "workflows" / "regress.yml").read_text())


def arguments(line: str) -> list[str]:
    program, name, *rest = shlex.split(line)
    assert (program, name) == ("robuststack", "regress")
    return rest


def test_its_command_is_one_that_regress_understands():
    (job,) = WORKFLOW["jobs"].values()
    lines = [step["run"] for step in job["steps"] if step.get("run", "").startswith("robuststack ")]
    (line,) = lines
    given = command.make_context("regress", arguments(line)).params
    assert (PACKAGE / given["suite"]).is_file()
    assert load_suite(PACKAGE / given["suite"]).hardware().kind == "cpu"
    assert job["env"]["OMP_NUM_THREADS"] == "1"
    with pytest.raises(click.NoSuchOption):
        command.make_context("regress", arguments(f"{line} --accept"))


def test_its_baseline_is_a_leaderboard_with_outcomes_made_on_one_thread():
    path = PACKAGE / "leaderboard" / "trades_regress.json"
    board = read_board(path)
    assert {row.defense for row in board.rows} == {"none", "trades"}
    assert {row.machine.threads for row in board.rows} == {"1"}
    kept = board_labels.load_correct(path, board.rows)
    assert {job for row in board.rows for job in row.jobs.scores["adaptive"]["ca"].values()} <= kept.keys()
