"""`robuststack card`: what a trained model is and what its figures are, as Markdown that model hubs read."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from made_rows import changed

from robuststack.cli import call
from robuststack.evidence.checks.verdict import Verdict
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, AuditFigure, RowAudit, audit_json
from robuststack.leaderboard.board import board_json
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.row import Row
from robuststack.suite.single_model import point_of

BOARD = Path(__file__).parents[2] / "leaderboard" / "float_vs_oat.json"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The committed leaderboard, in `leaderboard/` of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboard").mkdir()
    shutil.copy(BOARD, tmp_path / "leaderboard")
    return tmp_path


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The rows of one trained model, an OAT of several settings."""
    board = read_board(BOARD)
    first = next(row for row in board.rows if row.defense == "oat")
    return [row for row in board.rows if row.jobs.train == first.jobs.train]


def card(job: str, *arguments: str) -> str:
    assert call(["card", job, *arguments]) == 0
    return next(Path.cwd().glob("*.md")).read_text(encoding="utf-8")


def test_a_leaderboard_with_an_audit_goes_before_one_without(folder, rows):
    (job,) = rows[0].jobs.train.values()
    other = changed(read_board(BOARD), suite="another")
    (folder / "leaderboard" / "another.json").write_text(board_json(other))
    assert "were not audited" in card(job)
    shutil.copy(BOARD.with_suffix(".audit.json"), folder / "leaderboard")
    text = card(job)
    assert "were not audited" not in text
    assert "weak" in text


def test_it_says_what_the_model_is_and_what_its_figures_are(folder, rows, capsys):
    job = next(iter(rows[0].jobs.train.values()))
    text = card(job)
    name = f"{'-'.join(rows[0].variant)}-{rows[0].title.replace(' ', '-')}"
    assert capsys.readouterr().out.startswith(f"wrote {name}")
    _, head, body = text.split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["datasets"] == [rows[0].dataset]
    assert facts["library_name"] == "robuststack"
    assert "oat" in facts["tags"]
    assert f"`{job}`" in body
    for row in rows:
        assert row.ca.text in body
        assert all(figure.text in body for figure in row.ra.values())
    assert "tuned by lambda" in body
    assert "30 epochs of batches of 128" in body
    assert "@inproceedings{wang2020once," in body
    assert "kundu2023float" not in body, "its rows do not use FLOAT"
    assert "rows were not audited" in body


def test_the_beginning_of_an_id_is_enough_and_a_file_can_be_named(folder, rows):
    job = next(iter(rows[0].jobs.train.values()))
    whole = card(job)
    assert call(["card", job[:15], "-o", "README.md"]) == 0
    assert Path("README.md").read_text(encoding="utf-8") == whole


def test_what_it_tells_to_type_is_a_point_of_the_model(folder, rows):
    text = card(next(iter(rows[0].jobs.train.values())))
    call_line = next(line for line in text.splitlines() if line.startswith("model = "))
    assert call_line.endswith(f".at(lambda_={float(rows[-1].point['lambda'])})")
    command = next(line for line in text.splitlines() if line.startswith("As a file: "))
    words = shlex.split(command.removeprefix("As a file: `").removesuffix("`."))
    assert words[:2] == ["robuststack", "export"]
    assert words[3] == "--point"
    assert point_of(words[4]) == rows[-1].point


def test_what_is_exported_is_the_point_that_was_scored(folder, rows):
    """Tables round a knob to six digits."""
    board = read_board(BOARD)
    third = tuple(changed(row, point={"lambda": 1 / 3}) if row == rows[-1] else row for row in board.rows)
    Path("leaderboard", BOARD.name).write_text(board_json(board.model_copy(update={"rows": third})))
    text = card(next(iter(rows[0].jobs.train.values())))
    assert f'--point "lambda={1 / 3}"' in text
    assert f".at(lambda_={1 / 3})" in text


def test_a_knob_that_is_a_switch_is_written_as_python_has_it(folder, rows):
    board = read_board(BOARD)
    labels = {row.label for row in rows}
    switched = [changed(row, point={"lambda": True}) if row.label in labels else row for row in board.rows]
    Path("leaderboard/float_vs_oat.json").write_text(board_json(changed(board, rows=tuple(switched))))
    assert ".at(lambda_=True)" in card(next(iter(rows[0].jobs.train.values())))


def test_an_audit_and_doubts_are_told(folder, rows):
    row = rows[0]
    weak = Verdict(check="STRONGER", verdict="weak", text="a stronger attack finds more")
    figure = AuditFigure(value=1.5, low=0.5, high=4.5, n=200)
    audited = RowAudit(
        label=row.label, images=200, others=0, jobs=tuple(row.audited_jobs), ra=figure, ra_worst=figure, verdicts=(weak,)
    )  # fmt: skip
    audit = Audit(
        schema_=AUDIT_SCHEMA, suite="float_vs_oat", suite_file=None, overrides=(), complete=True, device="cpu",
        precision="float32", checks=(), rows=(audited,),
    )  # fmt: skip
    Path("leaderboard/float_vs_oat.audit.json").write_text(audit_json(audit))
    text = card(next(iter(row.jobs.train.values())))
    assert "weak: STRONGER" in text
    assert "1.5 [0.5, 4.5]" in text
    assert f"- {row.label}, STRONGER is weak: a stronger attack finds more." in text
    assert f"{len(rows) - 1} of {len(rows)} rows were not audited" in text


def test_of_several_seeds_its_own_figures_stand_beside_the_mean(folder, rows):
    board = read_board(BOARD)
    jobs = {0: "train-0000000000000000", 1: "train-1111111111111111"}

    def seeded(row: Row) -> Row:
        ca = changed(row.ca, value=50.0, seeds={"0/0": 40.0, "1/0": 61.0, "1/1": 59.0})
        return changed(row, ca=ca, jobs=changed(row.jobs, train=jobs))

    labels = {row.label for row in rows}
    several = changed(board, rows=tuple(seeded(row) if row.label in labels else row for row in board.rows))
    Path("leaderboard/float_vs_oat.json").write_text(board_json(several))
    text = card(jobs[1])
    assert "CA of this seed %" in text
    assert "| 60.0 |" in " ".join(text.split())
    assert "the mean of 2 training seeds" in text
    assert "seed-1.md" in {path.name[-9:] for path in Path.cwd().glob("*.md")}


def test_what_no_leaderboard_scores_is_one_line(folder, capsys):
    Path("leaderboard/notes.json").write_text("{}")
    for job, message in (
        (
            "train-nothing",
            "no leaderboard in leaderboard scores a model of a train job train-nothing: run its suite first",
        ),
        ("train-", " train jobs begin with train-: train-"),
    ):
        assert call(["card", job]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
    assert not list(Path.cwd().glob("*.md"))
