"""Committed leaderboards come from their suite files: every job id is planned again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planned_suites import ROOT
from robuststack.hardware import Hardware
from robuststack.leaderboard.audit_file import ENDING, board_files, read_audit
from robuststack.leaderboard.audit_table import audit_markdown
from robuststack.leaderboard.board import board_json
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.provenance import RowJobs
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite


def stale_rows(path: Path, registry: Registry) -> list[str]:
    """The rows of a leaderboard whose job ids are not those of its suite file, and the suite's rows it lacks."""
    board = read_board(path)
    suite = load_suite(path.parent / board.suite_file, board.overrides)
    plan = make_plan(suite, registry, Hardware(board.device, board.precision))
    expected = {row.label: row.jobs() for row in plan.rows}
    planned = {
        row.label: {*row.jobs.train.values(), row.jobs.measure, *row.jobs.attacks.values(), *row.jobs.scored()}
        for row in board.rows
    }
    wrong = [label for label, jobs in planned.items() if expected.get(label) != jobs]
    return wrong + (sorted(set(expected) - set(planned)) if board.complete else [])


def test_every_committed_leaderboard_comes_from_its_suite_file(registry):
    boards = board_files(ROOT / "leaderboard")
    assert boards
    for path in boards:
        assert stale_rows(path, registry) == [], f"{path.name} is stale: run its suite again"


def test_every_committed_audit_says_the_same_for_reading():
    files = sorted((ROOT / "leaderboard").glob(f"*{ENDING}"))
    assert files
    for path in files:
        assert path.with_suffix(".md").read_text(encoding="utf-8") == audit_markdown(read_audit(path)), path.name


@pytest.fixture
def board(plan, tmp_path):
    """A leaderboard file with the rows of a plan and the figures of another."""
    made = plan("train.epochs=3")
    whole = read_board(ROOT / "leaderboard" / "float_vs_oat.json").rows[0]
    rows = []
    for row in made.rows:
        judges = [made.by_id[job] for job in sorted(row.jobs()) if made.by_id[job].kind == "judge"]
        jobs = RowJobs(
            train=dict(row.train),
            measure=row.measure,
            attacks={judge.id: judge.spec.images for judge in judges if judge.spec.images},
            scores={"adaptive": {"ca": {str(position): judge.id for position, judge in enumerate(judges)}}},
        )
        rows.append(whole.model_copy(update={"label": row.label, "ra": {"worst": whole.worst}, "jobs": jobs}))
    path = tmp_path / "leaderboard" / "mine.json"
    path.parent.mkdir()
    path.write_text(board_json(make_board(made, rows, {}, complete=True, suite_file="../mine.yaml")))
    return path


def test_a_leaderboard_of_this_code_is_not_stale(board, registry):
    assert stale_rows(board, registry) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: re.sub(r'"judge-[0-9a-f]{16}"', '"judge-0000000000000000"', text),
        lambda text: re.sub(r'"attack-[0-9a-f]{16}"', '"attack-0000000000000000"', text, count=1),
        lambda text: text.replace('"train.epochs=3"', ""),
        lambda text: text.replace('"precision": "float32"', '"precision": "bf16"'),
        lambda text: text.replace('"device": "cpu"', '"device": "cuda"'),
    ],
)
def test_a_leaderboard_with_another_id_option_or_device_is_stale(board, registry, change):
    changed = change(board.read_text())
    assert changed != board.read_text()
    board.write_text(changed)
    assert stale_rows(board, registry)


def test_a_leaderboard_lacking_a_row_is_stale(board, registry):
    data = json.loads(board.read_text())
    data["rows"].pop()
    board.write_text(json.dumps(data))
    assert stale_rows(board, registry)
