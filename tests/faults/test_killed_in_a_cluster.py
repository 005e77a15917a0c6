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
from small_runs import TRIES

import robuststack as rs
from clusters import cluster
from robuststack.plugin.registry import Registry
from stores import contents

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    with cluster(1, 1) as made:
        yield made


def workers() -> list[int]:
    """The processes of workers on the nodes that this process started; another cluster's are let be."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::RayWorker"):
                node = parent(folder)
                if parent(Path("/proc", node)) == str(os.getpid()):
                    found.append(int(folder.name))
        except OSError:  # It has ended.
            continue
    return found


def parent(process: Path) -> str:
    """The number of a process's parent."""
    return (process / "stat").read_text().rpartition(")")[2].split()[1]


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
