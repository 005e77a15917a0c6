"""Any leaderboard, file of labels or audit is read, or refused in one line that names the file: never a traceback."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from damage import damaged_bytes, damaged_data, fuzzed, no_hang
from robuststack.cli import call
from robuststack.evidence.checks.verdict import Verdict
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, AuditFigure, CheckQuestion, RowAudit
from robuststack.leaderboard.audit_file import write_audit
from robuststack.leaderboard.board_file import read_board

COMMITTED = Path(__file__).parents[2] / "leaderboard"
NAME = "regress"
ROWS = ["digits/resnet8/oat lambda=0", "digits/resnet8/float lambda_n=1 lambda_th=0"]
COMMANDS = {
    "show": ["leaderboard", "show", "{board}"],
    "ranked": ["leaderboard", "show", "{board}", "--sort", "RA", "--format", "csv"],
    "latex": ["leaderboard", "show", "{board}", "--format", "latex", "--bold"],
    "json": ["leaderboard", "show", "{board}", "--format", "json"],
    "reading": ["leaderboard", "show", "{board}", "--reading", "majority 1"],
    "compared": ["leaderboard", "compare", "{board}", "{whole}"],
    "rows": ["leaderboard", "compare", "{board}", "--rows", *ROWS],
    "page": ["leaderboard", "build", "--leaderboard", "{folder}"],
    "cited": ["cite", "{board}"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with its labels and an audit, which nothing damages."""
    folder = tmp_path_factory.mktemp("whole")
    for file in COMMITTED.glob(f"{NAME}.*"):
        shutil.copy(file, folder)
    board = read_board(folder / f"{NAME}.json")
    figure = AuditFigure(value=40.0, low=30.0, high=50.0, n=200)
    weak = Verdict(check="STRONGER", verdict="weak", figure=20.0, threshold=1.0, text="finds more", jobs=("judge-0",))
    rows = [
        RowAudit(label=row.label, images=200, others=0, jobs=tuple(row.audited_jobs), ra=figure, ra_worst=figure,
                 verdicts=(weak,))
        for row in board.rows
    ]  # fmt: skip
    audit = Audit(
        schema_=AUDIT_SCHEMA, suite=board.suite, suite_file=board.suite_file, overrides=(), complete=True, device="cpu",
        precision="float32", checks=(CheckQuestion(name="STRONGER", question="Is there more?"),), rows=tuple(rows),
    )  # fmt: skip
    write_audit(audit, folder)
    return folder / f"{NAME}.json"


@pytest.fixture(scope="module")
def board(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(whole.parent, folder, dirs_exist_ok=True)
    return folder / f"{NAME}.json"


def asked(board: Path, whole: Path, command: str) -> int:
    """What a command says of a board: all that is asked, or one line that names a file beside it."""
    given = {"board": str(board), "whole": str(whole), "folder": str(board.parent)}
    said, printed = io.StringIO(), io.StringIO()
    with no_hang(), redirect_stderr(said), redirect_stdout(printed):
        code = call([word.format(**given) for word in COMMANDS[command]])
    errors = [line for line in said.getvalue().splitlines() if line.startswith("robuststack: error: ")]
    assert code == 2 * len(errors), said.getvalue()
    assert bool(printed.getvalue()) != bool(errors), said.getvalue()
    # What is wrong between rows, or between the jobs of one, is told with the label of the row or with the jobs.
    named = (str(board.parent), "digits/resnet8/", "judge-")
    assert all(any(name in line for name in named) for line in errors), errors
    return code


def with_content(file: Path, content: bytes, board: Path, whole: Path, command: str) -> int:
    """The same while one file has another content."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        return asked(board, whole, command)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_undamaged_leaderboard_is_read(board: Path, whole: Path, command: str) -> None:
    assert asked(board, whole, command) == 0


ENDINGS = st.sampled_from([".json", ".labels.safetensors", ".audit.json"])


@fuzzed
@given(st.data(), ENDINGS, st.sampled_from([*COMMANDS]))
def test_any_bytes(board: Path, whole: Path, data: st.DataObject, ending: str, command: str) -> None:
    file = next(board.parent.glob(f"*{ending}")) if ending != ".json" else board
    with_content(file, data.draw(damaged_bytes(file.read_bytes())), board, whole, command)


@fuzzed
@given(st.data(), st.sampled_from([".json", ".audit.json"]), st.sampled_from([*COMMANDS]))
def test_any_value_at_any_key(board: Path, whole: Path, data: st.DataObject, ending: str, command: str) -> None:
    file = next(board.parent.glob(f"*{ending}")) if ending != ".json" else board
    damaged = data.draw(damaged_data(json.loads(file.read_bytes())))
    with_content(file, json.dumps(damaged).encode(), board, whole, command)


arrays = st.sampled_from([
    np.zeros((2, 3), np.int8), np.zeros(0, np.int16), np.zeros((4, 200), np.float32), np.zeros((4, 199), np.int8),
    np.zeros((1, 200), np.int8), np.zeros((0, 200), np.int8), np.zeros((4, 200, 1), np.int8), np.array(3, np.int8),
    np.full((4, 200), 99, np.int16), np.full((4, 200), -1, np.int8), np.full((4, 200), 255, np.uint8),
])  # fmt: skip


@fuzzed
@given(st.data(), st.sampled_from([*COMMANDS]))
def test_labels_of_other_shapes_and_kinds(board: Path, whole: Path, data: st.DataObject, command: str) -> None:
    file = board.with_suffix(".labels.safetensors")
    tensors, head = load(file.read_bytes()), metadata(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(sorted(tensors)))
        way = data.draw(st.sampled_from(["other", "gone", "moved", "head"]))
        if way == "other":
            tensors[name] = data.draw(arrays)
        elif way == "gone" and len(tensors) > 1:
            del tensors[name]
        elif way == "moved":
            tensors[name] = tensors[data.draw(st.sampled_from(sorted(tensors)))]
        else:
            head = {"truth": json.dumps(data.draw(damaged_data(json.loads(head["truth"]))))}
    with_content(file, save(tensors, head), board, whole, command)


def metadata(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    said: dict[str, Any] = json.loads(content[8 : 8 + size])
    return dict(said["__metadata__"])
