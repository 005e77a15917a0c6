"""`robuststack rejudge`: the kept images score as they did, on fresh noise, in 8 bits, at other points; and it is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import robuststack as rs
from robuststack.cli import call
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import seeded
from robuststack.evidence.figures import measured
from robuststack.leaderboard.board_labels import read_labels
from robuststack.leaderboard.row import Figure
from robuststack.plan.rejudge import plan_rejudging
from robuststack.plugin.registry import Registry
from robuststack.running.rejudge import rejudge as run_rejudging
from robuststack.running.store import Store
from trained import Trained

DATASET = {"images": 600, "test_images": 200, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.1}
LABELS = torch.from_numpy(Registry().create("dataset", "tradeoff", DATASET).load(Path())["test"].labels)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def rejudge(own: Store, capsys: pytest.CaptureFixture[str]) -> Any:
    """Arguments -> (exit code, standard output, standard error)."""

    def go(*arguments: str, store: Path = own.root) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(["rejudge", *arguments, "--store", str(store), "--device", "cpu"])
        return code, *capsys.readouterr()

    return go


@pytest.fixture
def facts(rejudge: Any) -> Callable[..., dict[str, Any]]:
    def go(*arguments: str, **more: Any) -> dict[str, Any]:
        code, output, errors = rejudge(*arguments, "--json", **more)
        assert code == 0
        to_the_end = "it is run to the end" in errors
        assert errors.count("\n") == to_the_end
        return dict(json.loads(output))

    return go


@pytest.fixture
def own(trained: Trained, here: Path) -> Store:
    """A copy of the store, to be changed."""
    shutil.copytree(trained.store, here / "store")
    return Store(here / "store")


def judge_job(trained: Trained, defense: str, label: str = "PGD-5", **point: float) -> str:
    (row,) = (row for row in trained.result.rows if row.defense == defense and point.items() <= row.point.items())
    return str(row.jobs.scores["adaptive"][label]["0/0"])


def attack_job(trained: Trained, defense: str, label: str = "PGD-5", **point: float) -> str:
    judge = judge_job(trained, defense, label, **point)
    return str(Store(trained.store).result(judge)["spec"]["images"])


def correct(store: Store, job: str, **more: Any) -> np.ndarray:
    """Whether the labels are right when the images of a job are judged again: bool [draws, n]."""
    rejudging = plan_rejudging(store, Registry(), job, device="cpu", **more)
    return run_rejudging(rejudging, store, Registry(), Path()).labels.correct


def images_of(store: Store | Path, job: str) -> Tensor:
    storage = store if isinstance(store, Store) else Store(store)
    return safetensors.torch.load(storage.read(job, "images.safetensors"))["images"]


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def put_images(store: Store, job: str, images: Tensor) -> None:
    """Other images in a finished job, as if its attack had found them."""
    content = safetensors.torch.save({"images": images.contiguous()})
    sha = hashlib.sha256(content).hexdigest()
    store.finish(job, {**store.result(job), "images_sha256": sha}, {"images.safetensors": content})


# --- deterministic points


@pytest.mark.parametrize("label", ["FGSM", "PGD-5"])
def test_a_deterministic_point_scores_as_it_did_image_by_image(trained, own, facts, label):
    job, judge = (named(trained, "oat", label, **{"lambda": 1.0}) for named in (attack_job, judge_job))
    store = own
    assert np.array_equal(correct(store, job), read_labels(store, judge).correct)
    rejudged = facts(job)
    assert rejudged["judged"] == judge, "the very job of the run"
    assert facts(judge) == rejudged, "either job names the images"
    assert rejudged["stored"] == rejudged["new"]
    assert (rejudged["stored"]["interval"], rejudged["stored"]["draws"], rejudged["n"]) == ("wilson", 1, 200)
    assert (rejudged["stored_inside"], rejudged["point"], rejudged["eight_bit"]) == (True, None, None)


def test_the_figures_are_those_of_the_leaderboard(trained, facts):
    row = next(row for row in trained.result.rows if row.defense == "none")
    rejudged = facts(row.jobs.scores["adaptive"]["PGD-5"]["0/0"])
    assert Figure(**{key: rejudged["stored"][key] for key in ("value", "low", "high", "interval")}) == row.ra["PGD-5"]


def test_what_was_in_the_store_stays_and_a_second_call_is_read_from_it(own, trained, rejudge):
    before = contents(own.root)
    jobs = [attack_job(trained, "none"), attack_job(trained, "float", lambda_n=1)]
    first = [rejudge(job, "--eight-bit", "--seed", "2", store=own.root) for job in jobs]
    assert [code for code, _, _ in first] == [0, 0]
    after = contents(own.root)
    left = {path for path in before if not path.endswith(("/lock", "/owner"))}
    assert all(after[path] == before[path] for path in left)
    results = {path.partition("store/")[2].partition("/")[0] for path in after.keys() - before.keys()}
    assert results == {"judge", "attack"}, "two judgings each; and the deterministic attack, to the end"
    again = [rejudge(job, "--eight-bit", "--seed", "2", store=own.root) for job in jobs]
    assert [output for _, output, _ in again] == [output for _, output, _ in first]
    assert contents(own.root) == after


# --- randomised points


def test_a_randomised_point_is_judged_on_noise_of_its_own(own, trained):
    model, job = trained.job("float"), attack_job(trained, "float", lambda_n=1)
    # Louder noise, so that other draws are sure to give other verdicts.
    state = safetensors.torch.load(own.read(model, "model.safetensors"))
    louder = {key: 10 * value if key.endswith(".alpha") else value for key, value in state.items()}
    own.finish(model, own.result(model), {"model.safetensors": safetensors.torch.save(louder)})
    sha = own.result(model)["files"]["model.safetensors"]
    files = {"images.safetensors": own.read(job, "images.safetensors")}
    own.finish(job, {**own.result(job), "model_sha256": sha}, files)

    seed = own.result(job)["spec"]["seed"]
    first = correct(own, job, seed=seed)
    shutil.rmtree(own.root / "judge")
    again, other = (correct(own, job, seed=other, draws=4) for other in (seed, seed + 1))
    assert first.shape == (4, 200)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    view, run = rs.load_model(model, store=own.root).at(lambda_n=1.0), []
    for number, rows in enumerate((slice(0, 100), slice(100, 200))):
        with seeded(seed, "judge", number):
            run.append(judge(view, images_of(own, job)[rows], LABELS[rows], 4))
    assert not np.array_equal(first, torch.cat(run, 1).numpy()), "not the noise of the run, even with its seed"


def test_the_stored_figure_lies_inside_the_new_interval(trained, facts):
    job = attack_job(trained, "float", lambda_n=1)
    rejudged = facts(job, "--draws", "30")
    assert rejudged["stored"]["draws"] == 4
    assert (rejudged["new"]["draws"], rejudged["new"]["interval"]) == (30, "t")
    assert rejudged["stored_inside"]
    assert rejudged["new"]["low"] < rejudged["stored"]["value"] < rejudged["new"]["high"]


def test_a_figure_that_does_not_hold_is_said_to_lie_outside(own, trained, rejudge, facts):
    """As if the run had called images adversarial that are not."""
    clean = torch.from_numpy(Registry().create("dataset", "tradeoff", DATASET).load(Path())["test"].images)
    job, other = attack_job(trained, "none"), attack_job(trained, "none", "FGSM")
    for attack in (job, other):
        put_images(own, attack, clean)
    rejudged = facts(job, store=own.root)
    assert rejudged["new"]["low"] > rejudged["stored"]["value"]
    assert not rejudged["stored_inside"]
    assert " does not lie inside the new interval [" in rejudge(other, store=own.root)[1]


# --- 8 bits


def test_rounding_to_8_bits_is_compared_on_the_same_noise(trained, facts):
    job = attack_job(trained, "float", lambda_n=1)
    rejudged = facts(job, "--eight-bit")
    plain = facts(job)
    assert rejudged["eight_bit"]["unrounded"] == plain["new"]
    assert rejudged["eight_bit"]["moved"] == pytest.approx(rejudged["new"]["value"] - plain["new"]["value"], abs=1e-3)


def test_rounding_changes_the_verdict_on_images_near_the_boundary(own, trained, facts, rejudge):
    job = attack_job(trained, "none")
    job = facts(job, "--eight-bit", store=own.root)["images"]
    model = rs.load_model(trained.job("none"), store=trained.store).at()
    clean = torch.from_numpy(Registry().create("dataset", "tradeoff", DATASET).load(Path())["test"].images)
    right, wrong = clean.clone(), images_of(own, job)
    with torch.no_grad():
        for _ in range(12):  # Towards the boundary, from both sides, as far as the batch size changes nothing.
            middle = (right + wrong) / 2
            fooled = (model(middle).argmax(1) != LABELS)[:, None, None, None]
            right, wrong = torch.where(fooled, right, middle), torch.where(fooled, middle, wrong)
        put_images(own, job, wrong)
        rounded = (wrong * 255).round() / 255
        before, after = (model(images).argmax(1) == LABELS for images in (wrong, rounded))
    rejudged = facts(job, "--eight-bit", store=own.root)
    changed = int((before != after).sum())
    assert changed > 20
    assert rejudged["eight_bit"]["images_changed"] == changed
    moved = 100 * float(after.float().mean() - before.float().mean())
    assert rejudged["eight_bit"]["moved"] == pytest.approx(moved, abs=1e-3)
    assert rejudged["new"]["value"] == pytest.approx(100 * float(after.float().mean()), abs=1e-3)
    line = rejudge(job, "--eight-bit", store=own.root)[1].splitlines()[-1]
    told = f"rounding to 8 bits moves RA by {moved:+.2f} points: {changed} of 200 images change their verdict"
    assert line == f"{told} (it moves a pixel by up to 1/510, also out of the ball)"


# --- other operating points


def test_images_can_be_scored_on_another_point_of_the_same_model(trained, facts):
    job = attack_job(trained, "float", lambda_n=1)
    rejudged = facts(job, "--point", "lambda_n=0")
    assert rejudged["images"] == job
    model = rs.load_model(trained.job("float"), store=trained.store).at(lambda_n=0.0)
    with torch.no_grad():
        right = model(images_of(trained.store, job)).argmax(1) == LABELS
    assert rejudged["new"]["value"] == pytest.approx(100 * float(right.float().mean()), abs=1e-3)
    assert (rejudged["new"]["draws"], rejudged["new"]["interval"]) == (1, "wilson")
    assert rejudged["point"] == {"lambda_n": 0.0, "lambda_th": 0.0}


def test_images_that_stopped_at_their_own_point_are_attacked_to_the_end_for_another(own, trained, facts, rejudge):
    job = attack_job(trained, "oat", **{"lambda": 0})
    first = rejudge(job, "--point", "lambda=1", store=own.root)
    assert first[2] == f"{job} left images as they were once they fooled its own point: it is run to the end\n"
    rejudged = facts(job, "--point", "lambda=1", store=own.root)
    assert rejudged["to_the_end"]
    assert rejudged["images"] != job
    assert own.result(rejudged["images"])["spec"] == {**own.result(job)["spec"], "early_stop": False}
    assert own.result(rejudged["images"])["checks"]["calls"] > own.result(job)["checks"]["calls"] - 1
    assert "attacked to the end by attack-" in first[1]
    assert facts(job, store=own.root)["images"] == job
    # At a randomised point nothing stops, and FGSM never does.
    for other in (attack_job(trained, "float", lambda_n=1), attack_job(trained, "float", "FGSM", lambda_n=0)):
        assert facts(other, "--point", "lambda_n=0.5", store=own.root)["images"] == other


def test_images_of_a_deterministic_point_get_draws_at_a_randomised_one(trained, facts):
    job = attack_job(trained, "float", lambda_n=0)
    assert facts(job, "--point", "lambda_n=1")["new"]["draws"] == 20
    assert facts(job, "--point", "lambda_n=1", "--draws", "3")["new"]["draws"] == 3
    assert facts(job, "--draws", "3")["new"]["draws"] == 1


# --- what it prints


def test_it_prints_old_and_new_with_intervals(trained, rejudge, facts):
    job = attack_job(trained, "float", lambda_n=1)
    code, output, errors = rejudge(job[:15], "--point", "lambda_n=0.5", "--eight-bit", "--draws", "3")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == f"{job}  tradeoff/resnet8/float lambda_n=1 lambda_th=0 PGD-5, 200 images"
    stored = facts(job)["stored"]
    judge = judge_job(trained, "float", lambda_n=1)
    labels = read_labels(Store(trained.store), judge)
    figure = measured({(0, 0): [labels.labels]}, labels.truth)
    assert [stored[key] for key in ("value", "low", "high")] == pytest.approx(
        [100 * figure.value, 100 * figure.low, 100 * figure.high], abs=0.01
    )
    assert "{value:.1f} [{low:.1f}, {high:.1f}]".format_map(stored) in lines[4]
    assert [line.split("  ")[0] for line in lines[4:7]] == [
        "stored", "again at lambda_n=0.5 lambda_th=0", "again at lambda_n=0.5 lambda_th=0, 8 bits",
    ]  # fmt: skip
    assert [line.split()[-1] for line in lines[4:7]] == ["4", "3", "3"]
    assert lines[8].startswith(f"the stored {stored['value']:.1f} ")


# --- jobs of other shapes


def test_the_images_of_a_given_model_and_of_a_part_of_the_data(trained, rejudge, facts, here):
    model = rs.load_model(trained.job("none"), store=trained.store)
    safetensors.torch.save_file(model.model.state_dict(), here / "w.safetensors")
    options = " ".join(f"{key}={value}" for key, value in DATASET.items())
    result = rs.evaluate(
        load="w.safetensors", architecture="resnet8 width=8", dataset=f"tradeoff {options}", attacks=["fgsm"],
        eps=0.1, limit=50,
        overrides=["precision=float32", "measure.latency=false", "evaluate.block=20"], store="given", device="cpu",
    )  # fmt: skip
    job = result.rows[0].jobs.scores["adaptive"]["FGSM"]["0/0"]
    rejudged = facts(job, store=here / "given")
    assert rejudged["n"] == 50
    assert rejudged["stored"] == rejudged["new"]
    safetensors.torch.save_file(
        {**model.model.state_dict(), "stem.weight": torch.zeros(8, 3, 3, 3)}, here / "w.safetensors"
    )
    assert facts(job, store=here / "given") == rejudged, "nothing has to be computed"
    code, _, errors = rejudge(job, "--eight-bit", store=here / "given")
    assert (code, errors) == (
        2,
        f"robuststack: error: {here / 'w.safetensors'} has changed since the run was planned; run again\n",
    )


# --- what it cannot use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attack-nothing"], "has no finished job attack-nothing; it holds "),
        (["judge-"], " jobs begin with judge-: judge-"),
        (["TRAIN"], "TRAIN is a job of kind train; name a job that attacks, or one that judges its images"),
        (["MEASURE"], "MEASURE is a job of kind measure; name a job that attacks"),
        (["CLEAN"], "CLEAN judges clean images; name a job that attacks"),
        (["FLOAT", "--point", "lambda=1"], "float: unknown key 'lambda': did you mean 'lambda_n' or 'lambda_th'?"),
        (["FLOAT", "--point", "lambda_n=2"], "float: lambda_n: must be less than or equal to 1, not 2"),
        (["FLOAT", "--point", "a=1", "--point", "b=2"], '--point is given 2 times; one point is meant: --point "a=1 b=2"'),
        (["FLOAT", "--draws", "1"], "Invalid value for '--draws': 1 is not in the range x>=2"),
        (["FLOAT", "--seed", "-1"], "Invalid value for '--seed': -1 is not in the range x>=0"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_again_is_one_line(trained, rejudge, here, arguments, message):
    row = next(row for row in trained.result.rows if row.defense == "float")
    names = {
        "TRAIN": trained.job("float"),
        "MEASURE": row.jobs.measure,
        "CLEAN": row.jobs.scores["adaptive"]["ca"]["0/0"],
        "FLOAT": row.jobs.scores["adaptive"]["FGSM"]["0/0"],
    }
    for name, job in names.items():
        message = message.replace(name, job)
    code, output, errors = rejudge(*(names.get(argument, argument) for argument in arguments))
    (line,) = errors.splitlines()
    assert (code, output) == (2, "")
    assert message in line
    assert [path.name for path in here.iterdir()] == ["store"]


def test_images_that_were_not_kept_are_made_again_and_that_is_said(own, trained, rejudge):
    job = attack_job(trained, "float", lambda_n=1)
    before = own.read(job, "images.safetensors")
    own.discard(job, "images.safetensors")
    code, _, errors = rejudge(job, store=own.root)
    assert (code, errors) == (0, f"{job}: its images were deleted and are wanted: it is run again\n")
    assert own.read(job, "images.safetensors") == before


@pytest.mark.parametrize("name", ["images.safetensors", "labels.safetensors"])
def test_damaged_files_are_never_judged(own, trained, rejudge, name):
    job, judge = (named(trained, "float", lambda_n=1) for named in (attack_job, judge_job))
    path = own.folder(job if name == "images.safetensors" else judge) / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, output, errors = rejudge(job, store=own.root)
    assert (code, output) == (2, "")
    assert f"{path} is truncated or not the file that this job wrote (its hash differs)" in errors


def test_a_model_that_was_trained_again_is_not_what_the_images_were_made_for(own, trained, rejudge):
    job, model = attack_job(trained, "none"), trained.job("none")
    state = safetensors.torch.load(own.read(model, "model.safetensors"))
    retrained = safetensors.torch.save({**state, "stem.weight": state["stem.weight"] + 1})
    own.finish(model, own.result(model), {"model.safetensors": retrained})
    code, _, errors = rejudge(job, store=own.root)
    assert code == 2
    assert f"{model} has been trained again since {job} attacked it; run the suite again" in errors
