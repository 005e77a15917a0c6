"""Jobs in blocks: the same bits whatever the order, the process and the kills, and no more work than that."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import forked
import robuststack as rs
from forked import Forked
from robuststack.engine.blocks import assemble, basis, run_block
from robuststack.engine.jobs import execute
from robuststack.engine.workspace import Workspace
from robuststack.hardware import Hardware
from robuststack.leaderboard import board_labels
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.cached import look_up
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite

SUITE = """
name: blocks
datasets: {name: tradeoff, options: {images: 200, test_images: 50, size: 8, classes: 3, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: {name: float, points: {lambda_n: [0, 1]}}
attacks: {name: pgd, options: {steps: 8, draws: 2}}
evaluate: {draws: 3, block: 8}
measure: {latency: false}
precision: float32
"""
BLOCKS = 7
JOBS_IN_BLOCKS = 6  # At two points: the attack, its judging, that of the clean images.
UNITS = 3 + JOBS_IN_BLOCKS * BLOCKS
"""Epochs and blocks."""
TIMINGS = ("latency_ms", "train_seconds_per_epoch")
KILLS = int(os.environ.get("ROBUSTSTACK_KILLS", "2"))
CPU = Hardware("cpu", "float32")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has run, whole and undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "blocks.yaml").write_text(SUITE)
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "blocks.yaml").write_text(SUITE)
    return tmp_path


def run(folder: Path, *before: str) -> Forked:
    """`robuststack run` as a process of its own, after some statements."""
    arguments = ["run", "blocks.yaml", "--store", "store", "--leaderboard", "board", "--device", "cpu"]
    return forked.run("\n".join([*before, f"from robuststack.cli import main\nmain({arguments!r})"]), folder)


def board(folder: Path) -> tuple[str, bytes]:
    """The leaderboard without its timings, and the labels beside it."""
    path = folder / "board" / "blocks.json"
    data = json.loads(path.read_text())
    for row in data["rows"]:
        for key in TIMINGS:
            del row[key]
    return json.dumps(data, sort_keys=True), board_labels.path_of(path).read_bytes()


def planned(folder: Path, *overrides: str) -> Plan:
    return make_plan(load_suite(folder / "blocks.yaml", overrides), Registry(), CPU)


def workspace(folder: Path) -> Workspace:
    return Workspace(Registry(), Store(folder / "store", create=False), folder, CPU)


def in_blocks(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs if job.kind in ("attack", "judge")]


# --- order and process


def test_blocks_that_run_in_another_order_and_in_other_processes_are_the_same_bits(whole: Path, folder: Path) -> None:
    jobs = in_blocks(planned(whole))
    assert len(jobs) == JOBS_IN_BLOCKS
    store = Store(whole / "store")
    theirs, ours = list(range(0, BLOCKS, 2)), list(range(1, BLOCKS, 2))[::-1]
    asked, answered = folder / "asked", folder / "answered"
    asked.write_bytes(pickle.dumps((jobs, theirs)))
    script = (
        "import pickle; from pathlib import Path\n"
        "from robuststack.engine.blocks import run_block; from robuststack.engine.workspace import Workspace\n"
        "from robuststack.hardware import Hardware; from robuststack.plugin.registry import Registry\n"
        "from robuststack.running.store import Store\n"
        f"jobs, numbers = pickle.loads(Path({str(asked)!r}).read_bytes())\n"
        f"workspace = Workspace(Registry(), Store({str(store.root)!r}), Path(), Hardware('cpu', 'float32'))\n"
        "blocks = [[run_block(job, workspace, number) for number in reversed(numbers)] for job in reversed(jobs)]\n"
        f"Path({str(answered)!r}).write_bytes(pickle.dumps(blocks[::-1]))"
    )
    done = forked.run(script)
    assert done.returncode == 0, done.stderr
    for job, foreign in zip(jobs, pickle.loads(answered.read_bytes()), strict=True):
        own = [run_block(job, workspace(whole), number) for number in ours]
        blocks = {block.number: block for block in [*foreign, *own]}
        facts = [blocks[number].facts for number in range(BLOCKS)]
        result, files = assemble(job, workspace(whole), facts, lambda number, blocks=blocks: blocks[number].content)
        stored = store.result(job.id)
        assert {name: store.read(job.id, name) for name in stored["files"]} == files
        for key in ("n", "checks", "accuracy"):
            assert result.get(key) == stored.get(key)


def test_the_block_is_the_unit_of_the_random_streams(whole: Path) -> None:
    """A guard of the test above: blocks of other images are others, and so is a block under another number."""
    attack = next(job for job in in_blocks(planned(whole)) if job.kind == "attack" and job.spec.setting.stochastic)
    contents = {run_block(attack, workspace(whole), number).content for number in range(BLOCKS)}
    assert len(contents) == BLOCKS


# --- kills


def test_killed_at_random_moments_it_ends_with_the_same_board_and_redoes_one_unit_a_kill(
    whole: Path, folder: Path
) -> None:
    """SIGKILL at a random moment of a random unit. `ROBUSTSTACK_KILLS=20` is the whole campaign."""
    moments, kills, log = random.Random(0), 0, folder / "units"
    log.touch()
    while kills < KILLS:
        suicide = (
            "import os, signal, threading, time\n"
            "import robuststack.engine.jobs as jobs, robuststack.engine.train as train\n"
            "begun = []\n"
            "def kill_within_a_unit():\n"
            f"    seconds = {moments.random()} * (begun[-1] - begun[0]) / max(len(begun) - 1, 1)\n"
            "    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))\n"
            "    timer.daemon = True\n"
            "    timer.start()\n"
            "def counted(function):\n"
            "    def call(*args, **named):\n"
            f"        with open({str(log)!r}, 'a') as file: file.write(function.__name__ + '\\n')\n"
            "        begun.append(time.monotonic())\n"
            f"        if len(begun) == {moments.randint(1, UNITS // KILLS)}: kill_within_a_unit()\n"
            "        return function(*args, **named)\n"
            "    return call\n"
            "jobs.blocks.run_block = counted(jobs.blocks.run_block)\n"
            "train.training_batches = counted(train.training_batches)"
        )
        done = run(folder, suicide)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode == -signal.SIGKILL
        if done.returncode == 0:
            break
    if done.returncode:
        assert kills == KILLS
        counting = suicide.replace(": kill_within_a_unit()", ": pass")
        assert run(folder, counting).returncode == 0
    assert board(folder) == board(whole)
    units = log.read_text().split()
    assert kills > 0
    assert UNITS <= len(units) <= UNITS + kills


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", ["attack", "judge"])
@pytest.mark.parametrize("damage", ["none", "truncated", "of another model"])
def test_a_killed_job_goes_on_at_its_next_block_and_makes_damaged_ones_again(
    whole: Path, tmp_path: Path, kind: str, damage: str
) -> None:
    job = next(job for job in in_blocks(planned(whole)) if job.kind == kind and job.spec.setting.stochastic)
    store = Store(tmp_path / "store")
    for other in Store(whole / "store", create=False).root.glob("*/*/result.json"):
        if other.parent.name != job.id:
            (store.root / other.parent.parent.name).mkdir(exist_ok=True)
            (store.root / other.parent.parent.name / other.parent.name).symlink_to(other.parent)
    done: list[int] = []
    noticed: list[str] = []

    def report(event: str, **facts: Any) -> None:
        if event == "job_noticed":
            noticed.append(facts["text"])
            return
        done.append(facts["done"])
        if len(done) == 4:
            raise Killed

    with pytest.raises(Killed):
        execute(job, workspace(tmp_path), report)
    stamp = {"digest": job.digest, **basis(job, workspace(tmp_path))}
    assert sorted(store.blocks(job.id, stamp)) == [0, 1, 2, 3]
    if damage == "truncated":
        path = store.folder(job.id) / "blocks" / "block-00002"
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "of another model":
        store.save_block(job.id, store.read_block(job.id, 2, stamp), {**stamp, "model_sha256": "another"})
    again: list[int] = []
    from robuststack.engine import blocks

    class Watch:
        run_block = staticmethod(blocks.run_block)

    def counted(job: Job, workspace: Workspace, number: int) -> Any:
        again.append(number)
        return Watch.run_block(job, workspace, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "run_block", counted)
        result = execute(job, workspace(tmp_path), report)
    assert again == ([4, 5, 6] if damage == "none" else [2, 4, 5, 6])
    assert done[4:] == [8, 16, 24, 32, 40, 48, 50], "every block is reported, those that were kept too"
    assert [line.partition(": ")[0] for line in noticed] == ([] if damage == "none" else ["block 2 is made again"])
    assert result["files"] == Store(whole / "store").result(job.id)["files"]
    assert not (store.folder(job.id) / "blocks").exists()


# --- images that are not kept


def watched() -> tuple[Registry, list[str], list[str]]:
    started: list[str] = []
    noticed: list[str] = []

    class Watch:
        @rs.hookimpl
        def job_started(self, job: Job) -> None:
            started.append(job.kind)

        @rs.hookimpl
        def job_noticed(self, job: Job, text: str) -> None:
            noticed.append(f"{job.kind}: {text}")

    registry = Registry()
    registry.hooks.register(Watch())
    return registry, started, noticed


def test_images_go_when_they_are_judged_and_come_back_when_a_new_judge_wants_them(whole: Path, folder: Path) -> None:
    suite, store = folder / "blocks.yaml", folder / "store"

    def go(*overrides: str) -> tuple[Any, list[str], list[str]]:
        registry, started, noticed = watched()
        no_images = ["evaluate.keep_images=false", *overrides]
        result = rs.run(suite, store=store, leaderboard=None, device="cpu", overrides=no_images, registry=registry)
        return result, started, noticed

    first, started, noticed = go()
    assert started.count("attack") == 2
    assert not list(store.rglob("images.safetensors"))
    assert look_up(planned(folder, "evaluate.keep_images=false").jobs, Store(store)).keys() == first.plan.by_id.keys()
    again, started, noticed = go()
    assert (started, noticed) == ([], [])
    assert again.rows == first.rows
    _, started, noticed = go("evaluate.draws=4")
    assert sorted(started) == ["attack", "judge", "judge"], "the noisy point: its images, and both of its judgings"
    assert noticed == ["attack: its images were deleted and are wanted: it is run again"]
    assert not list(store.rglob("images.safetensors"))
    kept = json.loads(board(whole)[0])["rows"]
    assert [row.model_dump(mode="json")["ra"] for row in first.rows] == [row["ra"] for row in kept]


def test_images_that_one_suite_keeps_are_not_deleted_by_another(folder: Path) -> None:
    folders = {"store": folder / "store", "leaderboard": None, "device": "cpu"}
    rs.run(folder / "blocks.yaml", **folders)
    before = sorted((folder / "store").rglob("images.safetensors"))
    rs.run(folder / "blocks.yaml", overrides=["evaluate.keep_images=false"], **folders)
    assert sorted((folder / "store").rglob("images.safetensors")) == before
    assert len(before) == 2
