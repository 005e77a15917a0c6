"""`verify` derives everything again, and finds what somebody changed who made all hashes fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from forging import contents, edited, forged

import robuststack as rs
from robuststack.cli import call
from robuststack.evidence.bundle.data import why_not_there
from robuststack.evidence.bundle.derived import board_changes, derived_board, job_changes
from robuststack.evidence.bundle.images import check_images
from robuststack.evidence.bundle.judging_again import judge_again
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import Bundle, open_bundle
from robuststack.evidence.bundle.planned_again import NotPlanned, plan_problems
from robuststack.evidence.bundle.verification import Verification
from robuststack.hardware import Hardware
from robuststack.leaderboard.board import board_json
from robuststack.plan.specs import AttackSpec, ComponentSpec, JudgeSpec
from robuststack.plugin.registry import Registry


def reopened(path: Path, **changed: bytes) -> Bundle:
    """The bundle that a forger makes of changed members."""
    return open_bundle(forged(path, changed))


def judge_job(bundle: Bundle, draws: int) -> str:
    """A job that judges adversarial images on so many draws."""
    return next(
        job.id for job in bundle.plan.jobs
        if isinstance(job.spec, JudgeSpec) and job.spec.images and job.spec.draws == draws
    )  # fmt: skip


def flattered(members: dict[str, bytes], job: str) -> dict[str, bytes]:
    """Bundle members in which a judge job got every image right."""
    name = f"jobs/{job}/labels.safetensors"
    kept = safetensors.numpy.load(members[name])
    kept["labels"] = np.ascontiguousarray(np.broadcast_to(kept["truth"], kept["labels"].shape))
    result = f"jobs/{job}/result.json"
    proud = edited(members[result], lambda content: content.update(accuracy=100.0))
    return {**members, name: safetensors.numpy.save(kept), result: proud}


def workspace(bundle: Bundle, folder: Path):
    from robuststack.engine.workspace import Workspace

    return Workspace(Registry(), bundle.jobs, folder, Hardware("cpu", "float32"))


def test_an_honest_bundle_is_judged_again(bundled, capsys):
    assert call(["verify", str(bundled), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "re-judged"
    assert "disagrees" not in told
    lines = (
        "the suite makes these jobs and rows",
        "the leaderboard from 1,440 labels: rows (3), entries (2)",
        "60 images of dataset 'tradeoff' and their labels",
        "images of 9 attack jobs in [0, 1], and of 6 in the ball",
    )
    assert all(f"agrees:      {line}" in told for line in lines)
    assert "labels of 12 judge jobs, 5 % of the images, judged again" in told
    assert told.count("not checked: ") == 1


def test_a_forger_who_derives_everything_anew_is_found_by_the_weights_alone(bundled, tmp_path, capsys):
    members = contents(bundled)
    honest = open_bundle(bundled)
    made = reopened(tmp_path / "labels.bundle", **flattered(members, judge_job(honest, 1)))
    board = derived_board(made.plan, made.results, made.jobs, made.board)
    assert board_changes(made.board, board), "the labels are other ones"
    whole = forged(tmp_path / "forged.bundle", {**contents(made.path), "board.json": board_json(board).encode()})
    assert call(["verify", str(whole), "--json", "--device", "cpu"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "disagrees"
    (line,) = report["disagreements"]
    assert f"labels of {judge_job(honest, 1)} are others when they are judged again" in line
    # Without weights nothing can tell, and the verdict says no more than that it fits together.
    light = {name: content for name, content in contents(whole).items() if not name.endswith("model.safetensors")}
    light["manifest.json"] = edited(light["manifest.json"], lambda manifest: manifest.update(weights=False))
    result = rs.verify(forged(tmp_path / "light.bundle", light), device="cpu")
    assert result.verdict == "consistent"
    assert any("the bundle has no weights (`robuststack bundle --weights`)" in line for line in result.unchecked)


def test_labels_of_a_randomised_point_are_judged_on_the_same_noise(bundled, tmp_path, monkeypatch):
    members = contents(bundled)
    honest = open_bundle(bundled)
    job = judge_job(honest, 4)
    made = reopened(tmp_path / "labels.bundle", **flattered(members, job))
    forged_labels = judge_again(made.plan.by_id[job], made.results[job], workspace(made, tmp_path))
    assert forged_labels.problem
    same = judge_again(honest.plan.by_id[job], honest.results[job], workspace(honest, tmp_path))
    assert same.other == 0
    assert same.labels == 4 * 20, "one block of three"
    # Other random numbers: labels differ, and accuracy agrees within what draws explain.
    from robuststack.engine import random_streams

    seed = random_streams.stream_seed
    monkeypatch.setattr(random_streams, "stream_seed", lambda *parts: seed(*parts, "elsewhere"))
    here = judge_again(honest.plan.by_id[job], honest.results[job], workspace(honest, tmp_path))
    assert here.other > 0
    assert here.problem, "the same torch and device give the same numbers"
    there = {**honest.results[job], "versions": {"torch": "1.0"}}
    redrawn = judge_again(honest.plan.by_id[job], there, workspace(honest, tmp_path))
    assert redrawn.redrawn
    assert not redrawn.problem
    flattering = {**made.results[job], "versions": {"torch": "1.0"}}
    assert judge_again(made.plan.by_id[job], flattering, workspace(made, tmp_path)).problem


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda board: board["rows"][1]["ra"]["PGD-2"].update(value=99.0), "ra.PGD-2.value is 99.0 in the leaderboard"),
        (lambda board: board["rows"][0]["ca"].update(low=0.0), "rows.tradeoff/resnet8/none.ca.low is 0.0 in the "),
        (lambda board: board["entries"][0].update(hypervolume=99.9), "entries.0.hypervolume is 99.9 in the leaderboard"),
        (lambda board: board["entries"][1]["certainty"].update(low=0.5), "entries.1.certainty.low is 0.5 in"),
        (lambda board: board["rows"][0]["variance"]["ca"]["test images"].update(sd=0.5), "ca.test images.sd is 0.5"),
        (lambda board: board["rows"].pop(), "rows.tradeoff/resnet8/float lambda_n=1 lambda_th=0 is in its jobs alone"),
        (lambda board: board.update(description="the best"), 'description is "the best" in the leaderboard and "" by its'),
    ],
)  # fmt: skip
def test_a_figure_that_does_not_follow_from_the_labels_is_found(bundled, tmp_path, change, line):
    members = contents(bundled)
    made = reopened(tmp_path / "board.bundle", **{**members, "board.json": edited(members["board.json"], change)})
    problems = board_changes(made.board, _derived(made))
    assert len(problems) == 1
    assert line in problems[0]


def test_an_accuracy_that_a_job_says_is_derived_too(bundled, tmp_path):
    members = contents(bundled)
    job = judge_job(open_bundle(bundled), 1)
    name = f"jobs/{job}/result.json"
    flattering = edited(members[name], lambda result: result.update(accuracy=99.5))
    made = reopened(tmp_path / "job.bundle", **{**members, name: flattering})
    (line,) = job_changes(made.plan.jobs, made.results, made.jobs)
    assert line.startswith(f"{job}.accuracy is 99.5 in its result and ")
    honest = open_bundle(bundled)
    assert job_changes(honest.plan.jobs, honest.results, honest.jobs) == []


def _derived(made: Bundle):
    return derived_board(made.plan, made.results, made.jobs, made.board)


def test_numbers_agree_to_the_last_digit_that_the_leaderboard_has(bundled):
    bundle = open_bundle(bundled)
    derived = _derived(bundle)
    assert board_changes(bundle.board, derived) == []
    for moved, count in ((0.0001, 0), (0.0003, 1)):
        row = derived.rows[0]
        ca = row.ca.model_copy(update={"value": row.ca.value + moved})
        changed = derived.model_copy(update={"rows": (row.model_copy(update={"ca": ca}), *derived.rows[1:])})
        assert len(board_changes(bundle.board, changed)) == count


@pytest.mark.parametrize("change", [{"lr": 1e-4}, {"weight_decay": 5e-5}])
def test_numbers_of_the_suite_are_no_figures_and_agree_in_every_digit(bundled, change):
    bundle = open_bundle(bundled)
    derived = _derived(bundle)
    row = derived.rows[0]
    assert row.recipe
    ((key, moved),) = change.items()
    recipe = row.recipe.model_copy(update={key: getattr(row.recipe, key) + moved})
    changed = derived.model_copy(update={"rows": (row.model_copy(update={"recipe": recipe}), *derived.rows[1:])})
    (line,) = board_changes(bundle.board, changed)
    assert f"recipe.{key} is" in line


def test_a_complete_plan_has_every_row_of_its_suite(bundled):
    honest = open_bundle(bundled)
    assert honest.plan.complete
    *kept, dropped = [row.label for row in honest.plan.rows]
    made = replace(honest, plan=replace(honest.plan.of_rows(kept), complete=True))
    assert plan_problems(made, Registry()) == [
        f"plan: it says that it is complete, and lacks 1 rows of its suite, {dropped!r} first"
    ]
    assert plan_problems(replace(made, plan=replace(made.plan, complete=False)), Registry()) == []


def _attack(bundle: Bundle) -> str:
    return next(job.id for job in bundle.plan.jobs if isinstance(job.spec, AttackSpec))


def test_jobs_that_do_not_fit_each_other_are_found(bundled, tmp_path):
    members = contents(bundled)
    honest = open_bundle(bundled)
    attack, judge = _attack(honest), judge_job(honest, 1)
    name = f"jobs/{attack}/result.json"
    made = reopened(tmp_path / "spec.bundle", **{
        **members, name: edited(members[name], lambda result: result["spec"]["threat"].update(eps=0.2)),
    })  # fmt: skip
    assert broken_links(made.plan, made.jobs) == [f"{attack} is not the id of its specification"]
    name = f"jobs/{judge}/result.json"
    made = reopened(tmp_path / "images.bundle", **{
        **members, name: edited(members[name], lambda result: result.update(images_sha256="0", model_sha256="1")),
    })  # fmt: skip
    spec = made.plan.by_id[judge].spec
    assert isinstance(spec, JudgeSpec)
    assert broken_links(made.plan, made.jobs) == [
        f"{judge} used other weights than {spec.model} made", f"{judge} used other images than {spec.images} made",
    ]  # fmt: skip


def test_a_suite_that_makes_other_jobs_is_found(bundled, tmp_path):
    members = contents(bundled)

    def louder(suite: dict) -> None:
        suite["texts"]["tiny.yaml"] = suite["texts"]["tiny.yaml"].replace("steps: 2", "steps: 50")

    made = reopened(tmp_path / "suite.bundle", **{**members, "suite.json": edited(members["suite.json"], louder)})
    problems = plan_problems(made, Registry())
    assert any("is in plan.json alone" in line for line in problems)
    assert plan_problems(open_bundle(bundled), Registry()) == []


def test_a_suite_that_cannot_be_planned_here_is_not_checked(bundled, tmp_path):
    members = contents(bundled)
    bundle = open_bundle(bundled)
    with pytest.raises(NotPlanned, match=r"its suite cannot be planned here: .*unknown dataset 'tradeoff'"):
        plan_problems(bundle, Registry(sources=[]))

    def function(suite: dict) -> None:
        text = suite["texts"]["tiny.yaml"].replace("  - none\n", "  - {name: none, model: {python: 'os:getcwd'}}\n")
        suite["texts"]["tiny.yaml"] = text

    made = reopened(tmp_path / "own.bundle", **{**members, "suite.json": edited(members["suite.json"], function)})
    with pytest.raises(NotPlanned, match="its suite names what its author alone has: os:getcwd"):
        plan_problems(made, Registry())
    other = edited(members["manifest.json"], lambda manifest: manifest["versions"].update(robuststack="9.9"))
    made = reopened(tmp_path / "version.bundle", **{**members, "manifest.json": other})
    with pytest.raises(NotPlanned, match=r"it was planned by robuststack 9\.9, this is"):
        plan_problems(made, Registry())


@pytest.mark.parametrize(
    ("move", "line"),
    [
        (lambda images: (images + np.float32(0.3)).clip(0, 1), "from the clean one in linf, and eps is 0.1"),
        (lambda images: images - np.float32(0.5), "outside of [0, 1]"),
        (lambda images: np.where(images > 0.5, np.float32(np.nan), images), "a pixel is not finite"),
        (lambda images: images[:50], "60 images float32 [3, 8, 8] are needed"),
    ],
)
def test_images_that_the_threat_model_does_not_allow_are_found(bundled, tmp_path, move, line):
    members = contents(bundled)
    attack = _attack(open_bundle(bundled))
    name = f"jobs/{attack}/images.safetensors"
    images = np.ascontiguousarray(move(safetensors.numpy.load(members[name])["images"]))
    made = reopened(tmp_path / "images.bundle", **{**members, name: safetensors.numpy.save({"images": images})})
    report = Verification(made.path, "", "")
    check_images(made, report, Registry(), tmp_path, "cpu")
    assert len(report.disagreements) == 1
    assert report.disagreements[0].startswith(f"{attack}: ")
    assert line in report.disagreements[0]
    assert not report.judged_again


def test_other_true_labels_than_the_data_has_are_found(bundled, tmp_path):
    members = contents(bundled)
    job = judge_job(open_bundle(bundled), 1)
    name = f"jobs/{job}/labels.safetensors"
    kept = safetensors.numpy.load(members[name])
    made = reopened(tmp_path / "truth.bundle", **{
        **members, name: safetensors.numpy.save({**kept, "truth": np.ascontiguousarray(kept["labels"][0])}),
    })  # fmt: skip
    report = Verification(made.path, "", "")
    check_images(made, report, Registry(), tmp_path, "cpu")
    assert report.disagreements == [f"{job}: its true labels are not those of dataset 'tradeoff'"]


def test_without_the_plugins_the_labels_still_tell(bundled):
    report = rs.verify(bundled, registry=Registry(sources=[]), device="cpu")
    assert report.verdict == "consistent"
    assert any(line == "the leaderboard from 1,440 labels: rows (3), entries (2)" for line in report.agreed)
    told = "\n".join(report.unchecked)
    assert "whether the suite makes these jobs: its suite cannot be planned here: " in told
    assert "the images against the data: dataset 'tradeoff': unknown dataset 'tradeoff'" in told
    assert "labels.safetensors of 12 judge jobs against their models: their weights or their data are not there" in told


def test_data_that_is_not_there_is_not_fetched(tmp_path):
    registry = Registry()
    cifar = ComponentSpec.of(registry.create("dataset", "cifar10"))
    assert why_not_there(registry, cifar, tmp_path) == f"{tmp_path} has no cifar-10-python.tar.gz of the known hash"
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"another")
    assert "of the known hash" in why_not_there(registry, cifar, tmp_path)
    digits = ComponentSpec.of(registry.create("dataset", "digits"))
    assert why_not_there(registry, digits, tmp_path) == ""
    other = digits.model_copy(update={"fingerprint": "sha256:other"})
    assert why_not_there(registry, other, tmp_path) == "what is there has another fingerprint"
    own = ComponentSpec(name="npz", plugin="robuststack", revision=1, options={}, places={"path": ""}, fingerprint="x")
    assert why_not_there(registry, own, tmp_path).startswith("it is the author's own; name with --data the folder")
    absent = own.model_copy(update={"places": {"path": str(tmp_path / "data.npz")}})
    assert "data.npz" in why_not_there(registry, absent, tmp_path)


def test_a_file_that_is_no_bundle_exits_with_2(tmp_path, capsys, bundled):
    (tmp_path / "notes.txt").write_text("hello")
    assert call(["verify", str(tmp_path / "notes.txt")]) == 2
    assert capsys.readouterr().err.endswith("notes.txt is no bundle of robuststack\n")
    cut = tmp_path / "cut.bundle"
    cut.write_bytes(bundled.read_bytes()[:-1])
    assert call(["verify", str(cut)]) == 2
    told = capsys.readouterr().err
    assert "cut.bundle is truncated, was changed, or is an archive" in told
    assert told.count("\n") == 1
