"""Two hosts that share no folder: the link between them is cut and restored, one has other code, and one alone is timed on.

`ROBUSTSTACK_FAULTS` is how often the link is cut (default 1); the number of the try is its seed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import PORT, Host, ray_on_two_hosts
from small_runs import TRIES

import robuststack
from stores import contents

pytestmark = pytest.mark.faults


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with ray_on_two_hosts(tmp_path) as made:
        yield made


class Run:
    """A run on a host, whose store is in the host's folder."""

    def __init__(self, host: Host, suite: Path, *more: str, address: str = "") -> None:
        command = [sys.executable, "-m", "robuststack", "run", str(suite), "--executor", "ray"]
        command += [
            "--address",
            address or f"{host.address}:{PORT}",
            "--store",
            "store",
            "--leaderboard",
            "board",
            *more,
        ]
        self._process = subprocess.Popen(
            host.command(*command), env=host.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""

    def until(self, pattern: str) -> None:
        """Wait until it says something."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            if re.search(pattern, line):
                return
        raise AssertionError(f"it never said {pattern!r}: {self.said}")

    def code(self) -> int:
        """Wait until it is over."""
        said, _ = self._process.communicate(timeout=300)
        self.said += said
        assert "Traceback" not in self.said
        return self._process.returncode


def under_way(host: Host, other: Host, suite: Path) -> Run:
    """A run on a host that trains on the other one."""
    run = Run(host, suite)
    run.until(f"train .* on {other.name}: epoch")
    return run


@pytest.mark.parametrize("seed", TRIES)
def test_the_link_is_cut_for_some_seconds(
    seed: int, hosts: tuple[Host, Host], suite: Path, undisturbed: dict[str, Any]
) -> None:
    first, second = hosts
    run = under_way(first, second, suite)
    second.cut()
    time.sleep(random.Random(seed).uniform(0.5, 2))
    second.restore()
    assert run.code() == 0, run.said
    assert contents(first.folder / "store") == undisturbed


@pytest.mark.parametrize("seed", TRIES)
def test_the_link_is_cut_until_the_host_is_given_up(
    seed: int, hosts: tuple[Host, Host], suite: Path, undisturbed: dict[str, Any]
) -> None:
    first, second = hosts
    run = under_way(first, second, suite)
    time.sleep(random.Random(seed).random())
    second.cut()
    assert run.code() == 0, run.said
    assert f"its worker on {second.name} was lost" in run.said
    assert "tried again, 1 of 2" in run.said
    assert contents(first.folder / "store") == undisturbed
    second.restore()
    deadline = time.monotonic() + 60
    while second.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not second.processes(), "a host that was given up goes on with what nobody waits for"


def test_a_host_with_other_code_is_named_with_the_module(tmp_path: Path, suite: Path) -> None:
    package = Path(robuststack.__file__).parent
    shutil.copytree(package, tmp_path / "other" / "robuststack", ignore=shutil.ignore_patterns("site"))
    changed = tmp_path / "other" / "robuststack" / "attacks" / "ball.py"
    changed.write_text(f"{changed.read_text()}\nANOTHER = 1\n")
    elsewhere = os.pathsep.join(path for path in (str(tmp_path / "other"), os.environ.get("PYTHONPATH")) if path)
    with ray_on_two_hosts(tmp_path, PYTHONPATH=elsewhere) as (first, second):
        run = Run(first, suite)
        assert run.code() == 2
    assert f"node {second.name}: its module robuststack.attacks.ball is another than here" in run.said
    assert not list(first.folder.glob("store/*/*/result.json"))


def test_what_is_timed_runs_where_it_is_wanted(tmp_path: Path, suite: Path) -> None:
    timed = tmp_path / "timed.yaml"
    timed.write_text(suite.read_text().replace("latency: false", "latency: true"))
    with ray_on_two_hosts(tmp_path, "--resources", '{"timing": 1}') as (first, second):
        refused = Run(first, timed, "--measure-on", "tming")
        assert refused.code() == 2
        run = Run(first, timed, "--measure-on", "timing")
        assert run.code() == 0, run.said
    assert set(re.findall(r"measure .* on (\S+) in", run.said)) == {second.name}, run.said
    assert "--measure-on tming: no node of the cluster has this resource" in refused.said


def test_a_run_through_the_client_of_ray(hosts: tuple[Host, Host], suite: Path, undisturbed: dict[str, Any]) -> None:
    first, _ = hosts
    run = Run(first, suite, address=f"ray://{first.address}:10001")
    assert run.code() == 0, run.said
    assert contents(first.folder / "store") == undisturbed
