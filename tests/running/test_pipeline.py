"""Whole runs: the same figures every time, and what is done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from robuststack.cli import call
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.sealed import sealed_json, unsealed_json
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from tiny_runs import TINY_SUITE, board, figures
from trained import Trained


def test_two_runs_agree_in_every_figure_but_the_timings(tiny: Path, uninterrupted: str) -> None:
    result = rs.run(tiny, store=tiny.parent / "store", leaderboard=tiny.parent / "board")
    assert figures(result.rows) == uninterrupted


def test_another_seed_gives_other_figures(tiny: Path, uninterrupted: str) -> None:
    result = rs.run(tiny, store=tiny.parent / "s", leaderboard=tiny.parent / "b", overrides=["seeds=1"])
    ours = [(row["ca"], row["ra"]) for row in json.loads(figures(result.rows))]
    assert ours != [(row["ca"], row["ra"]) for row in json.loads(uninterrupted)]


def test_a_run_that_is_all_cached_changes_no_byte_and_imports_no_torch(trained: Trained) -> None:
    before = {path.name: path.read_bytes() for path in trained.leaderboard.iterdir()}
    script = (
        "import sys; from robuststack.cli import call\n"
        f"code = call(['run', {str(trained.suite)!r}, '--store', {str(trained.store)!r}, '--leaderboard',"
        f" {str(trained.leaderboard)!r}, '--device', 'cpu'])\n"
        "assert code == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "were done before" in done.stdout
    assert {path.name: path.read_bytes() for path in trained.leaderboard.iterdir()} == before


def test_a_changed_attack_reruns_that_attack_alone(tiny: Path) -> None:
    folders = {"store": tiny.parent / "store", "leaderboard": tiny.parent / "board"}
    rs.run(tiny, **folders)
    started: list[str] = []

    class Watch:
        @rs.hookimpl
        def job_started(self, job: Any) -> None:
            started.append(job.kind)

    registry = Registry()
    registry.hooks.register(Watch())
    rs.run(tiny, overrides=["attacks.options.steps=3"], registry=registry, **folders)
    assert started == ["attack", "judge", "attack", "judge"]


def test_a_part_of_a_suite_never_replaces_the_whole_leaderboard(trained: Trained) -> None:
    before = (trained.leaderboard / "small.json").read_bytes()
    result = rs.run(trained.suite, store=trained.store, leaderboard=trained.leaderboard, device="cpu", only="oat")
    try:
        assert {row.defense for row in result.rows} == {"oat"}
        names = ["small.partial.json", "small.partial.md", "small.partial.labels.safetensors"]
        assert [path.name for path in result.files] == names
        assert (trained.leaderboard / "small.json").read_bytes() == before
    finally:
        for path in result.files:
            path.unlink()


def test_the_plan_shows_as_done_what_a_run_would_not_do_again(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def done(*overrides: str) -> dict[str, int]:
        more = [word for override in overrides for word in ("--set", override)]
        assert call(["plan", str(tiny), "--store", str(tiny.parent / "store"), "--device", "cpu", "--json", *more]) == 0
        jobs = json.loads(capsys.readouterr().out)["jobs"]
        return {
            kind: sum(job["cached"] for job in jobs if job["kind"] == kind)
            for kind in ("train", "attack", "judge", "measure")
        }

    assert done() == {"train": 0, "attack": 0, "judge": 0, "measure": 0}
    no_images = "evaluate.keep_images=false"
    rs.run(tiny, store=tiny.parent / "store", leaderboard=None, device="cpu", overrides=[no_images])
    assert done(no_images) == {"train": 2, "attack": 2, "judge": 4, "measure": 2}
    # What judges clean images needs none that were kept.
    assert done() == {"train": 2, "attack": 0, "judge": 2, "measure": 2}
    results = (tiny.parent / "store" / "train").glob("*/result.json")
    (path,) = (file for file in results if json.loads(file.read_text())["spec"]["model"]["defense"]["name"] == "float")
    result = unsealed_json(path.read_bytes())
    result["files"]["model.safetensors"] = "of another training"
    path.write_bytes(sealed_json(result))
    assert done(no_images) == {"train": 2, "attack": 1, "judge": 2, "measure": 2}


def test_a_whole_leaderboard_replaces_the_partial_one(tiny: Path) -> None:
    def run(**more: Any) -> set[str]:
        rs.run(tiny, store=tiny.parent / "store", leaderboard=tiny.parent / "board", device="cpu", **more)
        return {path.name for path in (tiny.parent / "board").iterdir()}

    ends = ("json", "md", "labels.safetensors")
    other = tiny.parent / "board" / "tiny.partially.json"
    assert run(only="none") == {f"tiny.partial.{end}" for end in ends}
    other.write_text("another's")
    assert run() == {*(f"tiny.{end}" for end in ends), other.name}


def test_a_leaderboard_that_lacks_a_figure_is_written_whole_by_its_suite(tiny: Path) -> None:
    board = tiny.parent / "board" / "tiny.json"

    def run() -> None:
        rs.run(tiny, store=tiny.parent / "store", leaderboard=board.parent, device="cpu")

    run()
    whole = board.read_text()
    broken = json.loads(whole)
    del broken["rows"][0]["inspected"]
    board.write_text(json.dumps(broken))
    with pytest.raises(rs.RobustStackError, match="key 'inspected' is missing; run its suite again to write it whole"):
        read_board(board)
    run()
    assert board.read_text() == whole
    board.write_text('{"mine": 1}')
    with pytest.raises(
        rs.RobustStackError, match=r"tiny\.json is not a leaderboard written by robuststack; use another"
    ):
        run()
    assert board.read_text() == '{"mine": 1}'


def test_a_job_that_another_run_holds_is_named_and_the_others_are_done(
    tiny: Path, capsys: pytest.CaptureFixture[str], uninterrupted: str
) -> None:
    store = Store(tiny.parent / "store")
    plan = make_plan(load_suite(tiny), Registry(), Hardware("cpu", "float32"))
    held = next(job for job in plan.jobs if job.kind == "train" and "none" in job.label)
    arguments = ["run", str(tiny), "--store", str(store.root), "--leaderboard", str(tiny.parent / "board")]
    with store.lock(held.id):
        assert call(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"job {held.id}" in line
    assert f"(process {os.getpid()}); the other jobs are done" in line
    waiting = [job.label for job in plan.jobs if not store.has(job.id, job.digest) and job.kind != "measure"]
    assert all("none" in label for label in waiting)
    assert call(arguments) == 0
    assert figures(board(tiny)) == uninterrupted


def test_waiting_begins_when_nothing_else_is_left_to_do(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tiny.parent / "store")
    plan = make_plan(load_suite(tiny), Registry(), Hardware("cpu", "float32"))
    held = next(job for job in plan.jobs if job.kind == "train" and "none" in job.label)
    free = [job for job in plan.jobs if "none" not in job.label]
    plain, finished = LocalExecutor.finished, []

    def slow(self: LocalExecutor, report: Any) -> Any:
        time.sleep(2 / len(free))
        finished.append(1)
        return plain(self, report)

    monkeypatch.setattr(LocalExecutor, "finished", slow)
    holding, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock(held.id):
            holding.set()
            while not all(store.has(job.id, job.digest) for job in free):
                time.sleep(0.05)
            let_go.wait(0.3)

    other = threading.Thread(target=hold)
    other.start()
    holding.wait()
    result = rs.run(tiny, store=store.root, leaderboard=None, device="cpu", wait=1.5)
    other.join()
    assert len(finished) == len(plan.jobs)
    assert not result.failed


def test_images_that_another_run_deletes_meanwhile_are_made_again(tiny: Path, uninterrupted: str) -> None:
    folders = {"store": tiny.parent / "store", "leaderboard": tiny.parent / "board"}
    first = rs.run(tiny, **folders)
    store = Store(folders["store"])
    judge = next(job for job in first.plan.jobs if job.kind == "judge" and job.spec.images)
    for job in first.plan.jobs:
        if job.kind == "measure" or job.id == judge.id:
            shutil.rmtree(store.folder(job.id))
    deleted: list[str] = []

    class OtherRun:
        @rs.hookimpl
        def run_started(self) -> None:
            deleted.append(judge.spec.images)
            store.discard(judge.spec.images, "images.safetensors")

    registry = Registry()
    registry.hooks.register(OtherRun())
    result = rs.run(tiny, registry=registry, **folders)
    assert deleted
    assert not result.failed
    assert figures(result.rows) == uninterrupted


def test_two_suite_files_of_one_name_cannot_share_a_leaderboard(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.parent / "elsewhere" / "tiny.yaml"
    other.parent.mkdir()
    other.write_text(TINY_SUITE)
    folders = {"store": tiny.parent / "store", "leaderboard": tiny.parent / "board"}
    rs.run(tiny, only="none", **folders)
    (tiny.parent / "board" / "tiny.partial.json").rename(tiny.parent / "board" / "tiny.json")
    assert (
        call(["run", str(other), "--leaderboard", str(folders["leaderboard"]), "--store", str(folders["store"])]) == 2
    )
    line = capsys.readouterr().err.strip()
    assert line.endswith("give one of them another `name:`, or use another --leaderboard")


def test_a_missing_data_set_is_found_before_any_compute(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("ROBUSTSTACK_DATA", str(tiny.parent / "data"))
    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)
    store = tiny.parent / "store"
    with pytest.raises(rs.RobustStackError) as caught:
        rs.run(
            tiny, store=store, leaderboard=None,
            overrides=["datasets=[{name: tradeoff, options: {images: 200, size: 8}}, cifar10]"],
        )  # fmt: skip
    (line,) = str(caught.value).splitlines()
    assert "dataset 'cifar10' is not in" in line
    assert "no route to host" in line
    assert (
        f"put the file at {tiny.parent / 'data' / 'cifar-10-python.tar.gz'} (md5:c58f30108f718f92721af3b95e74349a)"
        in line
    )
    assert not list(store.glob("train/*/result.json"))


def test_a_retrained_model_is_attacked_again_even_under_the_same_id(tiny: Path) -> None:
    folders = {"store": tiny.parent / "store", "leaderboard": tiny.parent / "board"}
    first = rs.run(tiny, only="none", **folders)
    (job,) = (planned for planned in first.plan.jobs if planned.kind == "train")
    store = Store(folders["store"])
    result = store.result(job.id)
    # As if the weights had come out otherwise (another thread count, say): the ones before training.
    from robuststack.engine import models

    untrained = models.packed(models.untrained(Registry(), job.spec.model, seed=7))
    store.finish(job.id, result, {"model.safetensors": untrained})
    second = rs.run(tiny, only="none", **folders)
    assert second.rows[0].ca.value < first.rows[0].ca.value


def test_images_are_made_when_they_are_wanted_later(tiny: Path) -> None:
    folders = {"store": tiny.parent / "store", "leaderboard": tiny.parent / "board", "only": "none"}
    rs.run(tiny, overrides=["evaluate.keep_images=false"], **folders)
    assert not list(folders["store"].rglob("images.safetensors"))
    rs.run(tiny, **folders)
    assert len(list(folders["store"].rglob("images.safetensors"))) == 1
