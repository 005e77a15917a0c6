"""Whole runs: the same figures every time, whatever happens in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import robuststack as rs
from robuststack.cli import call
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack_plugins.attacks.pgd import PGD
from trained import Trained

TINY_SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 60, size: 8, classes: 3, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 4, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: 1}}]
attacks: {name: pgd, options: {steps: 2}}
evaluate: {draws: 3}
measure: {latency: false}
precision: float32
"""
TIMINGS = {"latency_ms", "train_seconds_per_epoch"}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SUITE)
    return path


def command(suite: Path, *more: str, before: str = "") -> list[str]:
    """`robuststack run` as a process of its own, after the statements `before`."""
    arguments = [
        "run",
        str(suite),
        "--store",
        str(suite.parent / "store"),
        "--leaderboard",
        str(suite.parent / "board"),
    ]
    script = f"{before}\nfrom robuststack.cli import main\nmain({[*arguments, *more]!r})"
    return [sys.executable, "-c", script]


def run(suite: Path, *more: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(suite, *more, before=before), capture_output=True, text=True, check=False)


def figures(rows: Sequence[rs.Row]) -> str:
    """The rows without their timings, as text that is equal when every figure is."""
    return json.dumps([row.model_dump(mode="json", exclude=TIMINGS) for row in rows], sort_keys=True)


def board(suite: Path) -> list[rs.Row]:
    return list(read_board(suite.parent / "board" / "tiny.json").rows)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The figures of the tiny suite, from a process that nothing disturbed."""
    suite = tmp_path_factory.mktemp("uninterrupted") / "tiny.yaml"
    suite.write_text(TINY_SUITE)
    done = run(suite)
    assert done.returncode == 0, done.stderr
    return figures(board(suite))


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


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_the_next_run_ends_with_the_same_table(tiny: Path, uninterrupted: str, seed: int) -> None:
    """SIGKILL inside a write: the process kills itself at a random fsync, in a checkpoint or a result."""
    moments = random.Random(seed)
    killed = 0
    for _ in range(3):
        suicide = (
            "import os, signal\n"
            f"left = [{moments.randint(2, 14)}]\n"
            "sync = os.fsync\n"
            "def fsync(file):\n"
            "    left[0] -= 1\n"
            "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
            "    sync(file)\n"
            "os.fsync = fsync"
        )
        done = run(tiny, before=suicide)
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert killed > 0
    done = run(tiny)
    assert done.returncode == 0, done.stderr
    assert figures(board(tiny)) == uninterrupted


def test_killed_from_outside_the_next_run_resumes_at_the_last_epoch(tiny: Path, uninterrupted: str) -> None:
    process = subprocess.Popen(command(tiny), stdout=subprocess.PIPE, text=True)
    store = tiny.parent / "store"
    while process.poll() is None and not list(store.glob("train/*/checkpoints/epoch-*")):
        pass
    process.kill()
    process.communicate()
    (checkpoint,) = store.glob("train/*/checkpoints/epoch-*")
    reached = int(checkpoint.name.partition("-")[2])
    epochs: list[int] = []

    class Watch:
        @rs.hookimpl
        def epoch_finished(self, job: Any, epoch: int) -> None:
            if job.id == checkpoint.parts[-3]:
                epochs.append(epoch)

    registry = Registry()
    registry.hooks.register(Watch())
    result = rs.run(tiny, store=store, leaderboard=tiny.parent / "board", registry=registry)
    assert epochs == list(range(reached + 1, 5))
    assert figures(result.rows) == uninterrupted


def test_interrupted_by_ctrl_c_it_says_so_in_one_line_and_goes_on_next_time(tiny: Path, uninterrupted: str) -> None:
    # Time to see a checkpoint: the run itself is over in a moment. A job in the background of a script ignores Ctrl-C.
    slower = (
        "import signal, time\nfrom robuststack.running.store import Store\nsave = Store.save_checkpoint\n"
        "Store.save_checkpoint = lambda *args: (save(*args), time.sleep(2))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)"
    )
    process = subprocess.Popen(command(tiny, before=slower), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = tiny.parent / "store"
    while process.poll() is None and not list(store.glob("train/*/checkpoints/epoch-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line] == [
        "robuststack: error: interrupted; finished jobs and epochs are kept, the same command goes on from there"
    ]
    assert run(tiny).returncode == 0
    assert figures(board(tiny)) == uninterrupted


def test_a_full_disk_is_one_line_and_what_was_finished_stays(tiny: Path, uninterrupted: str) -> None:
    # The weights of this model take about 22 kB, its results less: files may be no larger than 16 KiB.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"
    done = run(tiny, before=limit)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("robuststack: error: cannot write")
    assert "File too large" in line
    store = tiny.parent / "store"
    assert not [path for path in store.rglob("*") if path.name.startswith((".", "partial"))]
    assert run(tiny).returncode == 0
    assert figures(board(tiny)) == uninterrupted


def test_a_job_that_a_card_has_no_memory_for_fails_alone(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb = PGD.perturb

    def greedy(self: PGD, model: Any, *rest: Any, **named: Any) -> Any:
        if model.stochastic and "early_stop" not in named:  # As it is evaluated, not as it is trained.
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")
        return perturb(self, model, *rest, **named)

    monkeypatch.setattr(PGD, "perturb", greedy)
    folder = tiny.parent
    code = call(["run", str(tiny), "--store", str(folder / "s"), "--leaderboard", str(folder / "board")])
    errors = capsys.readouterr().err.splitlines()
    assert code == 1
    assert errors[0].endswith("cpu is out of memory; a smaller evaluate.block may help")
    partial = read_board(folder / "board" / "tiny.partial.json")
    assert "none" in [row.defense for row in partial.rows]


def test_a_model_that_there_is_no_memory_for_is_one_line(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", greedy)
    assert call(["run", str(tiny), "--store", str(tiny.parent / "s"), "--leaderboard", "-"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "robuststack: error: cpu is out of memory before any job: the data or a model are too large"


def test_a_loss_that_is_not_finite_stops_that_job_alone(
    tiny: Path, capsys: pytest.CaptureFixture[str], uninterrupted: str
) -> None:
    text = TINY_SUITE.replace("{name: float,", "{name: float, train: {lr: 1.0e+30},")
    tiny.write_text(text)
    code = call(["run", str(tiny), "--store", str(tiny.parent / "s"), "--leaderboard", str(tiny.parent / "board")])
    errors = capsys.readouterr().err.splitlines()
    assert code == 1
    assert "failed: tradeoff/resnet8/float: the loss is nan in epoch 1, step" in errors[0]
    assert errors[1] == "1 job(s) failed, 1 of 2 rows are missing"
    partial = read_board(tiny.parent / "board" / "tiny.partial.json")
    assert [row.defense for row in partial.rows] == ["none"]
    assert not (tiny.parent / "board" / "tiny.json").exists()
    assert figures(partial.rows) == json.dumps(json.loads(uninterrupted)[:1], sort_keys=True)


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
    result = json.loads(path.read_text())
    result["files"]["model.safetensors"] = "of another training"
    path.write_text(json.dumps(result))
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


def test_a_missing_data_set_is_found_before_any_compute(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("ROBUSTSTACK_DATA", str(tiny.parent / "data"))
    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)
    overrides = ["--set", "datasets=[{name: tradeoff, options: {images: 200, size: 8}}, cifar10]"]
    store = tiny.parent / "store"
    assert call(["run", str(tiny), "--store", str(store), "--leaderboard", str(tiny.parent / "b"), *overrides]) == 2
    line = capsys.readouterr().err.strip()
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
