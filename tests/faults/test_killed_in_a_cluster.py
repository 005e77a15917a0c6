"""What runs on a cluster is killed at random moments: no job is lost, no figure differs, and nothing is left running.

`ROBUSTSTACK_FAULTS` is how often each is tried (default 1), and its seed is the number of the try.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from clusters import cluster
from forked import run
from robuststack.plugin.registry import Registry
from stores import contents

pytestmark = pytest.mark.faults
TRIES = range(int(os.environ.get("ROBUSTSTACK_FAULTS", "1")))
SUITE = """
datasets: {name: digits}
architectures: {name: resnet8, options: {width: 4}}
threat: {eps: 0.1}
train: {epochs: 6, batch_size: 100, attack: {name: pgd, options: {steps: 1, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: [0, 1]}}]
attacks: {name: pgd, options: {steps: 3}}
evaluate: {draws: 2, limit: 200, block: 20}
measure: {latency: false}
precision: float32
device: cpu
threads: 1
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def undisturbed(suite: Path) -> dict[str, Any]:
    """What each job comes to in one process."""
    store = suite.parent / "undisturbed"
    done = run(f"import robuststack as rs\nrs.run({str(suite)!r}, store={str(store)!r}, leaderboard=None)")
    assert done.returncode == 0, done.stderr
    return contents(store)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    with cluster(1, 1) as made:
        yield made


def workers() -> list[int]:
    """The processes of workers on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::RayWorker"):
                found.append(int(path.parent.name))
        except OSError:  # It has ended.
            continue
    return found


@pytest.mark.parametrize("seed", TRIES)
def test_a_worker_is_killed(
    seed: int, suite: Path, undisturbed: dict[str, Any], two_nodes: Any, tmp_path: Path
) -> None:
    moment = random.Random(seed).randint(1, 9)
    notices: list[str] = []

    class Killer:
        left = moment

        @rs.hookimpl
        def epoch_finished(self) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(random.Random(seed).choice(sorted(workers())), signal.SIGKILL)

        @rs.hookimpl
        def job_noticed(self, text: str) -> None:
            notices.append(text)

    registry = Registry()
    registry.hooks.register(Killer())
    where = rs.RayOptions(address=two_nodes.address)
    result = rs.run(suite, store=tmp_path / "store", leaderboard=None, executor=where, registry=registry)
    assert not result.failed
    assert contents(tmp_path / "store") == undisturbed
    assert all("was lost" in notice for notice in notices)


@pytest.mark.parametrize("seed", TRIES)
def test_the_run_is_killed_and_run_again(
    seed: int, suite: Path, undisturbed: dict[str, Any], two_nodes: Any, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "robuststack", "run", str(suite), "--executor", "ray"]
    command += ["--address", two_nodes.address, "--store", str(store), "--leaderboard", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(store.glob("train/*/checkpoints/epoch-*")):
            time.sleep(0.05)
        time.sleep(random.Random(seed).random() * 3)
        process.kill()
    deadline = time.monotonic() + 60
    while workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers(), "a killed run leaves workers behind"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(store) == undisturbed
