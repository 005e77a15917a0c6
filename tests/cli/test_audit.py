"""`robuststack audit`: what it audits, what it writes, what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator

import robuststack as rs
from robuststack.cli import call
from robuststack.cli.audit import print_audit
from robuststack.errors import LeaderboardError
from robuststack.evidence.checks.catalogue import CHECKS
from robuststack.evidence.checks.verdict import Verdict
from robuststack.evidence.decisions import Side
from robuststack.leaderboard.audit import Audit, audit_schema
from robuststack.leaderboard.audit_file import board_files, find_audit, read_audit
from robuststack.leaderboard.board_file import read_board
from robuststack.running.store import Store
from trained import Trained

QUICK = ["--checks", "logits,steps,stat", "--only", "pgd_at", "--images", "40", "--device", "cpu"]
LABEL = "tradeoff/resnet8/pgd_at lambda=1"


@pytest.fixture
def run(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, in the working directory."""
    folder = tmp_path / "run"
    shutil.copytree(trained.suite.parent, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def test_a_leaderboard_is_audited_on_its_suite_with_the_jobs_of_the_store(run, capsys):
    before = set(run.glob("store/*/*/result.json"))
    assert call(["audit", "small", "--leaderboard", "leaderboard", "--store", "store", *QUICK]) == 0
    told = capsys.readouterr().out
    assert "H holds, W weak, B broken, O open, - does not apply" in told
    assert f"{LABEL}\n  open S" in told
    assert "wrote leaderboard/small.partial.audit.json\nwrote leaderboard/small.partial.audit.md\n" in told
    text = (run / "leaderboard" / "small.partial.audit.md").read_text()
    assert "**Partial:** some rows or checks are left out." in text
    assert f"\n{LABEL}:\n\n- open S" in text
    assert before <= set(run.glob("store/*/*/result.json"))
    audit = read_audit(run / "leaderboard" / "small.partial.audit.json")
    assert [row.label for row in audit.rows] == [LABEL]
    assert list(audit.by_label[LABEL].by_check) == ["LOGITS", "STEPS", "STAT"]
    assert audit.by_label[LABEL].others == 160
    assert not audit.complete
    Draft202012Validator(audit_schema()).validate(
        json.loads((run / "leaderboard/small.partial.audit.json").read_text())
    )


def test_a_second_audit_runs_nothing_and_reads_and_compares_each_thing_once(run, capsys, monkeypatch):
    ask = [*QUICK[2:], "--checks", "steps,order", "--store", "store"]
    assert call(["audit", "small", "--leaderboard", "leaderboard", *ask]) == 0
    written = (run / "leaderboard" / "small.partial.audit.json").read_bytes()
    capsys.readouterr()
    read, compared = [], []
    result, sides = Store.result, Side.of
    monkeypatch.setattr(Store, "result", lambda store, job: read.append(job) or result(store, job))
    monkeypatch.setattr(
        Side, "of", lambda labels, *rest: compared.append(tuple(map(id, labels))) or sides(labels, *rest)
    )
    assert call(["audit", "leaderboard/small.json", *ask]) == 0
    assert "to run" not in capsys.readouterr().out
    assert (run / "leaderboard" / "small.partial.audit.json").read_bytes() == written
    assert len(read) == len(set(read)) > 10
    assert len(compared) == len(set(compared)) > 4


def test_images_that_were_not_kept_are_told_before_their_attack_is_run_again(run, capsys):
    row = read_board(run / "leaderboard" / "small.json").by_label[LABEL]
    attack = row.jobs.attacks[row.jobs.scores["adaptive"]["PGD-5"]["0/0"]]
    store = Store(run / "store")
    kept = store.read(attack, "images.safetensors")
    store.discard(attack, "images.safetensors")
    assert call(["audit", "small.yaml", "--leaderboard", "leaderboard", "--store", "store", *QUICK]) == 0
    told = capsys.readouterr().out
    assert told.index(f"its images were not kept: {attack} will be run again") < told.index("] ")
    assert store.read(attack, "images.safetensors") == kept


def test_what_was_audited_is_judged_as_the_row_was(run):
    """A deterministic model names the same classes for an image, whichever others it is judged with."""
    result = rs.audit("small.yaml", checks=["STAT"], only="pgd_at", images=200, store="store", leaderboard=None,
                      device="cpu")  # fmt: skip
    (row,) = result.audit.rows
    assert row.ra.n == 200
    assert row.ra.value == read_board(run / "leaderboard" / "small.json").by_label[LABEL].worst.value
    assert result.files == []


def test_the_audit_beside_a_leaderboard_is_of_its_rows_or_none(run):
    board = read_board(run / "leaderboard" / "small.json")
    path = run / "leaderboard" / "small.json"
    assert find_audit(path, board.rows) == {}
    rs.audit("small.yaml", checks=["STAT"], store="store", leaderboard="leaderboard", device="cpu")
    assert board_files(run / "leaderboard") == [path]
    (run / "leaderboard" / "small.partial.audit.json").rename(run / "leaderboard" / "small.audit.json")
    assert set(find_audit(path, board.rows)) == set(board.by_label)
    label, row = next(iter(board.by_label.items()))
    retrained = row.model_copy(update={"jobs": row.jobs.model_copy(update={"scores": {}})})
    assert label not in find_audit(path, [retrained])
    relabelled = row.model_copy(update={"jobs": row.jobs.model_copy(update={"labels": "0123456789abcdef"})})
    assert label not in find_audit(path, [relabelled]), "the same jobs, made anew by other code, came to other labels"
    older = row.model_copy(update={"jobs": row.jobs.model_copy(update={"labels": ""})})
    assert label in find_audit(path, [older]), "of a row without a hash its jobs decide"
    attacks = {
        f"{label} again": dict.fromkeys(runs, "judge-new") for label, runs in row.jobs.scores["adaptive"].items()
    }
    attacked = row.jobs.model_copy(update={"scores": {"adaptive": row.jobs.scores["adaptive"] | attacks}})
    assert label not in find_audit(path, [row.model_copy(update={"jobs": attacked})]), "of a new attack it says nothing"


def test_a_leaderboard_shows_what_its_audit_found(run, capsys):
    rs.audit("small.yaml", checks=["STAT"], store="store", leaderboard="leaderboard", device="cpu")
    (run / "leaderboard" / "small.partial.audit.json").rename(run / "leaderboard" / "small.audit.json")
    assert call(["leaderboard", "show", "small", "--leaderboard", "leaderboard"]) == 0
    header, _, first = capsys.readouterr().out.splitlines()[2:5]
    assert "RA worst %" in header
    assert "audit" in header
    assert "RA worst % audited" in header
    assert "open" in first


def test_a_model_of_a_running_program_is_audited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
    images = torch.rand(40, 3, 8, 8, generator=generator)
    data = images, model(images).argmax(1).detach()
    scored = rs.evaluate(model, data=data, eps=0.02, attacks=["pgd steps=3"], store="store", device="cpu",
                         overrides=["measure.latency=false"])  # fmt: skip
    (row,) = rs.audit(scored, checks=["LOGITS", "STEPS"], store="store", leaderboard=None).audit.rows
    assert row.by_check["LOGITS"].verdict == "holds"
    assert row.by_check["STEPS"].verdict in ("holds", "open", "weak")
    assert row.ra.n == 40
    with pytest.raises(rs.RobustStackError, match=r"overrides evaluate\.draws=2: a result is audited as it was run"):
        rs.audit(scored, overrides=["evaluate.draws=2"], store="store", leaderboard=None)


def test_run_audits_what_it_has_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(
        "datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}}\n"
        "architectures: {name: resnet8, options: {width: 4}}\ntrain: {epochs: 1, batch_size: 30}\n"
        "defenses: none\nattacks: fgsm\nmeasure: {latency: false}\nprecision: float32\n"
    )
    assert call(["plan", "tiny.yaml", "--audit", "--device", "cpu"]) == 0
    planned = capsys.readouterr().out
    assert call(["run", "tiny.yaml", "--audit", "--dry-run", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == planned
    assert call(["run", "tiny.yaml", "--audit", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert call(["plan", "tiny.yaml", "--audit", "--device", "cpu", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert f"1 row, {len(jobs)} jobs, 0 done" in planned
    assert {job["kind"] for job in jobs} == {"train", "judge", "attack", "probe", "measure"}
    assert all(job["cached"] for job in jobs), "the audit ran what the plan said"
    assert told.index("wrote leaderboard/tiny.json") < told.index("wrote leaderboard/tiny.audit.json")
    assert "STRONGER" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.yaml", "--checks", "guess"], f"no check is named GUESS; valid: {', '.join(c.name for c in CHECKS)}"),
        (["smal"], "no leaderboard 'smal' in {run}/leaderboard: did you mean 'small'?"),
        (["small", "--set", "seeds=1"],
         "--set seeds=1: a leaderboard is audited as it was made; name its suite instead"),
        (["small.yaml", "--only", "oats"], "--only oats: no row matches; rows are named like 'tradeoff/resnet8/none',"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_one_line(run, capsys, arguments, message):
    assert call(["audit", *arguments, "--leaderboard", "leaderboard", "--store", "store"]) == 2
    told = capsys.readouterr().err
    assert message.format(run=run) in told
    assert told.count("\n") == 1


def test_a_row_that_its_suite_no_longer_has_is_refused(run, capsys):
    suite = run / "small.yaml"
    suite.write_text(suite.read_text().replace("  - none\n", ""))
    assert call(["audit", "small", "--leaderboard", "leaderboard", "--store", "store"]) == 2
    assert "has a row 'tradeoff/resnet8/none' that" in capsys.readouterr().err


def test_strict_exits_with_1_if_a_check_finds_a_contradiction(run, capsys):
    result = rs.audit("small.yaml", checks=["STAT"], only="pgd_at", store="store", leaderboard=None, device="cpu")
    assert print_audit(result, strict=True) == 0
    (row,) = result.audit.rows
    broken = Verdict(check="STAT", verdict="broken", text="planted")
    result.audit = result.audit.model_copy(update={"rows": (row.model_copy(update={"verdicts": (broken,)}),)})
    assert print_audit(result, strict=False) == 0
    assert print_audit(result, strict=True) == 1
    assert f"broken: {LABEL}" in capsys.readouterr().err


def test_a_check_whose_job_failed_is_open_with_the_reason(run, monkeypatch):
    from robuststack.engine.probes import logits
    from robuststack.errors import JobFailed

    def fail(subject):
        raise JobFailed("planted")

    monkeypatch.setattr(logits, "look", fail)
    result = rs.audit("small.yaml", checks=["LOGITS", "STAT"], only="pgd_at", images=40, store="store", leaderboard=None,
                      device="cpu")  # fmt: skip
    (row,) = result.audit.rows
    assert row.by_check["LOGITS"].verdict == "open"
    assert "logits, 40 images failed: planted" in row.by_check["LOGITS"].text
    assert list(result.failed.values()) == ["planted"]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 99, "suite": "small"}'])
def test_a_file_that_is_no_audit_is_one_line(tmp_path, text):
    path = tmp_path / "small.audit.json"
    path.write_text(text)
    with pytest.raises(LeaderboardError, match=r"small\.audit\.json is not an audit that this version reads") as error:
        read_audit(path)
    assert "\n" not in str(error.value)


def test_an_audit_is_the_same_record_when_it_is_read_back(run):
    result = rs.audit("small.yaml", checks=["STAT"], store="store", leaderboard="leaderboard", device="cpu")
    assert read_audit(result.files[0]) == result.audit
    assert isinstance(result.audit, Audit)
