"""The audit in a bundle is derived anew from the jobs of its checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bundled_run import BundledRun
from forging import contents, edited, forged
from safetensors.numpy import load, save

import robuststack as rs
from robuststack.errors import BundleError

CHECKS = ["BOX", "LOGITS", "FRESH", "ORDER", "STAT"]


@pytest.fixture(scope="module")
def audited(finished: BundledRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, without weights, of a run whose rows have been audited by some checks."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("*.bundle"))
    board = folder / "leaderboard"
    rs.audit(folder / "tiny.yaml", checks=CHECKS, images=30, store=folder / "store", leaderboard=board, device="cpu")
    (board / "tiny.partial.audit.json").rename(board / "tiny.audit.json")
    return rs.bundle(folder / "tiny.yaml", folder / "a.bundle", store=folder / "store", leaderboard=board).path


def test_every_verdict_follows_from_jobs_in_the_bundle(audited):
    report = rs.verify(audited, device="cpu")
    assert report.verdict == "consistent", report.disagreements
    assert "the audit from its jobs: 15 of 15 verdicts, RA of 3 of 3 rows" in report.agreed
    assert any(line.startswith("what probes and attacks saw") for line in report.unchecked)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda audit: audit["rows"][0]["verdicts"][1].update(verdict="broken"), "none LOGITS: verdict is"),
        (lambda audit: audit["rows"][2]["verdicts"][-1].update(figure=1.0), "STAT: figure is 1.0 in the audit"),
        (lambda audit: audit["rows"][0]["verdicts"][3].update(jobs=[]), "none ORDER: jobs is [] in the audit"),
        (lambda audit: audit["rows"][1]["ra_worst"].update(value=12.5), "ra_worst.value is 12.5 in the audit"),
        (lambda audit: audit["rows"][0]["verdicts"].pop(0), "none' are not of the checks that the audit lists"),
        (lambda audit: audit["checks"].pop(0), "are not of the checks that the audit lists"),
        (lambda audit: audit.update(complete=True), "the audit says that it is complete, and lacks checks or rows"),
    ],
)  # fmt: skip
def test_what_does_not_follow_from_the_jobs_is_found(audited, tmp_path, change, line):
    members = contents(audited)
    members["audit.json"] = edited(members["audit.json"], change)
    report = rs.verify(forged(tmp_path / "forged.bundle", members), device="cpu")
    assert report.verdict == "disagrees"
    assert line in "\n".join(report.disagreements)


def test_labels_of_a_check_that_were_changed_are_found(audited, tmp_path):
    members = contents(audited)
    plan = json.loads(members["plan.json"])
    order = json.loads(members["audit.json"])["rows"][0]["verdicts"][3]["jobs"]
    (strongest,) = (job["id"] for job in plan["audit"] if job["id"] in order and "PGD-2," in job["label"])
    name = f"jobs/{strongest}/labels.safetensors"
    labels = load(members[name])
    # Nothing is fooled by the strongest attack: a weaker one finds more.
    members[name] = save({**labels, "labels": labels["truth"][None].copy()})
    report = rs.verify(forged(tmp_path / "forged.bundle", members), device="cpu")
    assert any(f"{strongest}.accuracy is" in line for line in report.disagreements)
    assert any("none ORDER: its jobs find what other images have to confirm" in line for line in report.disagreements)


def test_what_the_store_no_longer_has_is_taken_on_trust(finished, audited, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(audited.parent, folder, ignore=shutil.ignore_patterns("*.bundle"))
    for result in (folder / "store" / "probe").glob("*/result.json"):
        result.unlink()
    made = rs.bundle(
        folder / "tiny.yaml", folder / "b.bundle", store=folder / "store", leaderboard=folder / "leaderboard"
    )
    report = rs.verify(made.path, device="cpu")
    assert report.verdict == "consistent", report.disagreements
    assert "the audit from its jobs: 12 of 15 verdicts, RA of 0 of 3 rows" in report.agreed
    assert "3 of 15 verdicts of the audit: jobs of theirs are not in the bundle" in report.unchecked


def test_an_audit_that_its_jobs_do_not_bear_out_is_not_bundled(audited, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(audited.parent, folder, ignore=shutil.ignore_patterns("*.bundle"))
    file = folder / "leaderboard" / "tiny.audit.json"
    file.write_bytes(edited(file.read_bytes(), lambda audit: audit["rows"][0]["verdicts"][-1].update(figure=1.0)))
    with pytest.raises(BundleError, match=r"tiny\.audit\.json is not what its jobs in .* come to: .*; audit again"):
        rs.bundle(folder / "tiny.yaml", store=folder / "store", leaderboard=folder / "leaderboard")
