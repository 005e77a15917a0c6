"""Several jobs at a time: the same figures, alone where time is measured, and what becomes of a process that dies."""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import robuststack as rs
from robuststack.cli import call
from robuststack.errors import JobFailed, RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plan.source_digest import known_sources, source_digest
from robuststack.plugin.registry import Registry
from robuststack.processor import cpu_threads
from robuststack.running.executors import executor
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.executors.planned_sources import PlannedSources
from robuststack.running.executors.workers import WorkersExecutor, _Worker, placed, starter
from robuststack.running.pipeline import Report, room_on_machine, run_plan
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import MOST_WORKERS


def figures(rows: Sequence[rs.Row]) -> list[Any]:
    return [[row.label, row.ca, row.ra, row.jobs, row.effort] for row in rows]


def test_several_at_a_time_give_the_figures_of_one_and_this_process_needs_no_torch(suite: Path) -> None:
    script = (
        "import sys; from robuststack.cli import call\n"
        f"code = call(['run', {str(suite)!r}, '--workers', '2', '--store', {str(suite.parent / 'two')!r},"
        f" '--leaderboard', {str(suite.parent / 'board')!r}])\n"
        "assert 'torch' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "small: 10 jobs to run" in done.stdout
    assert "epoch" not in done.stderr
    alone = rs.run(suite, store=suite.parent / "one", leaderboard=None)
    both = rs.run(suite, store=suite.parent / "two", leaderboard=None)
    assert figures(alone.rows) == figures(both.rows)
    assert [row.machine.workers for row in (*alone.rows, *both.rows)] == ["1", "1", "2", "2"]
    assert {row.machine.threads for row in (*alone.rows, *both.rows)} == {"1"}
    assert "1 thread a job, up to 2 jobs at a time" in (suite.parent / "board" / "small.md").read_text()


def test_what_concerns_the_whole_run_comes_back_as_it_is(suite: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = [
        "run",
        str(suite),
        "--workers",
        "2",
        "--store",
        str(tmp_path / "store"),
        "--leaderboard",
        str(tmp_path),
    ]
    assert call([*arguments, "--set", "datasets.name=npz", "--set", "datasets.options={path: none.npz}"]) == 2
    assert "none.npz" in capsys.readouterr().err
    assert not list(tmp_path.glob("store/*/*/result.json"))


def test_what_is_edited_before_a_worker_imports_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planned_late.py").write_text("STEP = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = source_digest(["planned_late"])
    planned = known_sources([digest])
    assert planned.keys() == {"planned_late"}
    assert source_digest(["planned_late"]) == digest
    sources = PlannedSources(planned)
    sources.check()
    (tmp_path / "planned_late.py").write_text('"""Other words."""\nSTEP = 1\n')
    sources.check()
    (tmp_path / "planned_late.py").write_text("STEP = 2\n")
    with pytest.raises(RobustStackError, match="source of 'planned_late' has changed since the run was planned; run"):
        sources.check()
    (tmp_path / "planned_late.py").write_text("STEP = 1\n")
    importlib.import_module("planned_late")
    sources.check()
    (tmp_path / "planned_late.py").write_text("STEP = 3\n")
    sources.check()  # It runs what was planned, whatever its file says now.


def test_a_plugin_that_is_edited_during_a_run_ends_it_before_an_edited_result(suite: Path, tmp_path: Path) -> None:
    loaded = load_suite(suite)
    plan = make_plan(loaded, Registry(), loaded.hardware(workers=2))
    edited = {"robuststack.engine.judge": "as it was planned"}
    own = {part for job in plan.jobs if job.kind == "judge" for part in job.digest.split(".")}
    assert "robuststack.engine.judge" in known_sources(own)
    with (
        mock.patch("robuststack.running.executors.workers.known_sources", return_value=edited),
        WorkersExecutor(tmp_path / "store", tmp_path, plan.hardware) as workers,
        pytest.raises(RobustStackError, match=r"the source of 'robuststack\.engine\.judge' has changed since the run"),
    ):
        run_plan(plan, Store(tmp_path / "store"), workers, Registry())
    assert not list(tmp_path.glob("store/*/*/result.json"))


def test_a_job_that_fails_leaves_the_others(suite: Path, tmp_path: Path) -> None:
    result = rs.run(
        suite, store=tmp_path / "s", leaderboard=None, workers=2, overrides=["defenses=[none]", "train.lr=1e30"]
    )
    (reason,) = result.failed.values()
    assert reason.startswith("the loss is nan in epoch 1")
    assert len(result.outcome.results) == 1, "what is measured needs no training"
    assert len(result.outcome.skipped) == 3, "the attack, its judging and that of the clean images"


def test_a_job_whose_process_is_killed_fails_and_the_others_go_on(suite: Path, tmp_path: Path) -> None:
    loaded = load_suite(suite, ["train.epochs=2000"])
    plan = make_plan(loaded, Registry(), loaded.hardware(workers=2))
    kinds: list[str] = []

    class Killer:
        @rs.hookimpl
        def epoch_finished(self, job: Job, epoch: int) -> None:
            if epoch == 1:
                (worker,) = (busy for busy in workers._workers if busy.job and busy.job.id == job.id)
                os.kill(worker.process.pid, signal.SIGKILL)

        @rs.hookimpl
        def job_started(self, job: Job) -> None:
            kinds.append(job.kind)

    registry = Registry()
    registry.hooks.register(Killer())
    with WorkersExecutor(tmp_path / "store", tmp_path, plan.hardware) as workers:
        outcome = run_plan(plan, Store(tmp_path / "store"), workers, registry)
        assert len(workers._workers) >= 1
        processes = [worker.process for worker in workers._workers]
    assert {str(error) for error in outcome.failed.values()} == {
        "its process was killed by SIGKILL; was it out of memory? run with fewer --workers"
    }
    assert kinds == ["train", "train", "measure", "measure"], "the measure jobs need no trained model and go on"
    assert all(not process.is_alive() for process in processes)


LIFE = """
import multiprocessing, os, sys, time
from robuststack.running.executors import workers

def life(connection):
    workers._settle({"TRIED": "now"})
    connection.send(dict(os.environ))
    time.sleep(30)
    print("it lived on", flush=True)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context(sys.argv[1]).Process(target=life, args=(theirs,)).start()
    print(ours.recv(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_has_the_variables_that_it_is_given_and_does_not_outlive_a_run_that_is_killed(
    tmp_path: Path, method: str
) -> None:
    program = tmp_path / "life.py"
    program.write_text(LIFE)
    with subprocess.Popen([sys.executable, str(program), method], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{'TRIED': 'now'}\n"
        process.kill()
        assert process.stdout.read() == "", "the end of the output is that of the last process that could write to it"


def test_where_a_process_died_is_told_without_the_lines_of_the_importer(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
        '  File "<frozen importlib._bootstrap>", line 241 in _call_with_frames_removed\n'
        '  File "/a/defense.py", line 7 in build\n'
    )
    worker = _Worker(multiprocessing.Process(), trace, multiprocessing.Pipe()[0])
    assert worker._place() == ", in defense.py:7 build"


def test_workers_on_a_processor_share_what_they_import() -> None:
    assert starter("cuda").get_start_method() == starter("cuda:1").get_start_method() == "spawn"
    assert starter("cpu").get_start_method() == ("forkserver" if sys.platform == "linux" else "spawn")


def test_a_card_that_torch_cannot_use_is_one_line_from_workers_too(suite: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    plan = make_plan(load_suite(suite, ["device=auto"]), Registry(), Hardware("cuda", "float32"))
    with (
        WorkersExecutor(tmp_path / "store", tmp_path, plan.hardware) as workers,
        pytest.raises(RobustStackError, match=r"^--device cuda: torch cannot use it: .*; valid: cpu$"),
    ):
        run_plan(plan, Store(tmp_path / "store"), workers, Registry())


def test_workers_take_the_cards_in_turn_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(device: str, cards: int) -> list[str]:
        monkeypatch.setattr("robuststack.running.executors.workers.cuda_capabilities", lambda: ((9, 0),) * cards)
        return [hardware.device for hardware in itertools.islice(placed(Hardware(device, "bf16", workers=3)), 5)]

    assert devices("cuda", 2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert devices("cuda", 1) == ["cuda"] * 5
    assert devices("cuda:1", 2) == ["cuda:1"] * 5
    assert devices("cpu", 2) == ["cpu"] * 5


class Recording:
    """An executor that computes nothing and remembers what ran beside what."""

    slots = 3

    def __init__(self) -> None:
        self.running: list[Job] = []
        self.together: list[list[str]] = []

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> dict[str, JobFailed]:
        return {}

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        return room_on_machine(job, running, self.slots)

    def start(self, job: Job) -> None:
        self.running.append(job)
        self.together.append([other.kind for other in self.running])

    def finished(self, report: Report) -> tuple[Job, dict[str, Any] | JobFailed]:
        return self.running.pop(0), {"files": {"model.safetensors": "0"}}


def test_what_is_timed_runs_alone_and_trained_models_come_first(suite: Path, tmp_path: Path) -> None:
    plan: Plan = make_plan(load_suite(suite, ["seeds=[0, 1]"]), Registry(), Hardware("cpu", "float32"))
    recording = Recording()
    outcome = run_plan(plan, Store(tmp_path / "store"), recording, Registry())
    assert set(outcome.results) == {job.id for job in plan.jobs}
    assert max(len(kinds) for kinds in recording.together) == 3
    assert all(kinds == ["measure"] for kinds in recording.together if "measure" in kinds)
    assert [kinds[-1] for kinds in recording.together[:4]] == ["train"] * 4


def test_threads_of_the_suite_say_how_many_jobs_run(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert cpu_threads() == 6
    loaded = load_suite(suite)
    assert (loaded.hardware().threads, loaded.hardware().workers) == (1, 6)
    assert load_suite(suite, ["threads=4"]).hardware().workers == 1
    assert load_suite(suite, ["threads=9"]).hardware().workers == 1
    assert loaded.hardware(workers=3).threads == 1
    free = load_suite(suite, ["threads=null"])
    assert (free.hardware().threads, free.hardware().workers) == (None, 1)
    assert (free.hardware(workers=3).threads, free.hardware(workers=3).workers) == (2, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert loaded.hardware().workers == MOST_WORKERS


def test_one_job_at_a_time_stays_in_this_process_and_gives_its_threads_back(suite: Path, tmp_path: Path) -> None:
    import torch

    assert isinstance(executor(Registry(), Store(tmp_path / "s"), tmp_path, Hardware("cpu", "float32")), LocalExecutor)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with LocalExecutor(Registry(), Store(tmp_path / "s"), tmp_path, Hardware("cpu", "float32", threads=1)) as local:
        assert local.workspace.hardware.threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
