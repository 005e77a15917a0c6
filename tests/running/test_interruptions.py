"""Runs that are killed, interrupted, or out of disk or memory: what is finished stays, and the next run ends alike."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import forked
import robuststack as rs
from robuststack.cli import call
from robuststack.leaderboard.board_file import read_board
from robuststack.plugin.registry import Registry
from robuststack_plugins.attacks.pgd import PGD
from tiny_runs import TINY_SUITE, board, figures, run, script


def test_killed_at_any_moment_the_next_run_ends_with_the_same_table(tiny: Path, uninterrupted: str) -> None:
    """SIGKILL inside a write: the process kills itself at a random fsync, in a checkpoint or a result."""
    moments = random.Random(1)
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
    store = tiny.parent / "store"
    with forked.start(script(tiny)) as process:
        while process.running and not list(store.glob("train/*/checkpoints/epoch-*")):
            time.sleep(0.005)
        process.signal(signal.SIGKILL)
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
    store = tiny.parent / "store"
    with forked.start(script(tiny, before=slower)) as process:
        while process.running and not list(store.glob("train/*/checkpoints/epoch-*")):
            time.sleep(0.05)
        process.signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 130
    assert [line for line in process.stderr.splitlines() if line] == [
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
