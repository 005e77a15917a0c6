"""`robuststack bundle`: what it takes, what it writes, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundled_run import BundledRun

from robuststack.cli import call
from robuststack.evidence.bundle.opening import open_bundle
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, RowAudit, audit_json
from robuststack.leaderboard.board_file import read_board
from robuststack.running.store import Store
from stores import edit


@pytest.fixture
def run(finished: BundledRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, in the working directory."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("*.bundle"))
    monkeypatch.chdir(folder)
    return folder


def bundle(*arguments: str) -> int:
    return call(["bundle", *arguments, "--store", "store", "--leaderboard", "leaderboard"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert bundle(*arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not Path("tiny.bundle").exists()
    return told


def audit(folder: Path, jobs: tuple[str, ...]) -> None:
    """An audit of the first row, made of these jobs."""
    row = read_board(folder / "leaderboard" / "tiny.json").rows[0]
    of_row = RowAudit(label=row.label, images=1, others=0, jobs=jobs, ra=None, ra_worst=None, verdicts=())
    record = Audit(
        schema_=AUDIT_SCHEMA, suite="tiny", suite_file="../tiny.yaml", overrides=(), complete=True, device="cpu",
        precision="float32", checks=(), rows=(of_row,),
    )  # fmt: skip
    (folder / "leaderboard" / "tiny.audit.json").write_text(audit_json(record))


def test_a_suite_and_its_leaderboard_make_the_same_bundle_with_the_audit(run, capsys):
    audit(run, tuple(read_board(run / "leaderboard" / "tiny.json").rows[0].audited_jobs))
    assert bundle("tiny.yaml") == 0
    told = capsys.readouterr().out
    assert told.startswith("wrote tiny.bundle, ")
    assert bundle("tiny", "-o", "other.bundle") == 0
    sha256 = told.split()[-1]
    assert capsys.readouterr().out.split()[-1] == sha256
    assert open_bundle(Path("tiny.bundle")).audit is not None
    audit(run, ("judge-of-another-run",))
    assert bundle("leaderboard/tiny.json", "-o", "other.bundle") == 0
    assert open_bundle(Path("other.bundle")).audit is None, "it is of a row that is no longer there"


def test_images_that_were_not_kept_are_named(run, capsys):
    store = Store(run / "store")
    attacks = sorted(result["id"] for result in store.finished("attack"))
    for job in attacks[:5]:
        store.discard(job, "images.safetensors")
    told = refused(capsys, "tiny.yaml")
    assert "the images of 5 jobs (attack-" in told
    assert "and 2 more) were not kept; run the suite again with `keep_images: true` under `evaluate`" in told


def test_what_cannot_be_bundled_is_one_line(run, capsys):
    assert "no leaderboard 'tin' in" in refused(capsys, "tin")
    job = next(Store(run / "store").finished("judge"))["id"]
    folder = Store(run / "store").folder(job)
    folder.rename(folder.with_name("aside"))
    assert f"lacks 1 job ({job}) behind {run}/leaderboard/tiny.json: run the suite there first" in refused(
        capsys, "tiny"
    )
    folder.with_name("aside").rename(folder)
    attack = Store(run / "store").folder(next(Store(run / "store").finished("attack"))["id"]) / "result.json"
    result = attack.read_text()
    edit(attack, checks=None)
    told = refused(capsys, "tiny")
    assert (
        f"{run}/store: what its jobs behind {run}/leaderboard/tiny.json say is not as this version of robuststack"
        in told
    )
    attack.write_text(result)
    suite = run / "tiny.yaml"
    text = suite.read_text()
    suite.write_text(text.replace("steps: 2", "steps: 3"))
    assert "PGD" not in refused(capsys, "tiny")
    suite.write_text(text)
    board = run / "leaderboard" / "tiny.json"
    changed = board.read_text().replace('"description": ""', '"description": "the best"')
    board.write_text(changed)
    assert 'description is "the best" in the leaderboard and "" by its jobs; run the suite again' in refused(
        capsys, "tiny"
    )
    board.rename(run / "aside.json")
    assert f"no leaderboard {run}/leaderboard/tiny.json of tiny.yaml: run the suite first" in refused(
        capsys, "tiny.yaml"
    )
