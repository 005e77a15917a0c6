"""Two hosts on this machine: each has its own network, name and folders, and the link between them can be cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusters import ENVIRONMENT

PORT = 6379
QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""Ray takes a node for dead when it has been silent for some seconds, instead of a minute."""


@dataclass(frozen=True)
class Host:
    """A network namespace with an end of the link."""

    name: str
    address: str
    link: str
    folder: Path
    """Its home, its data cache, and what Ray writes."""

    def command(self, *words: str) -> list[str]:
        """A command as it is run on this host."""
        inside = f'hostname {self.name}; mount --bind {self.folder}/ray /tmp/ray; cd {self.folder}; exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", inside, "sh", *words]

    def environment(self, **more: str) -> dict[str, str]:
        own = {"HOME": f"{self.folder}/home", "ROBUSTSTACK_DATA": f"{self.folder}/data"}
        return {**os.environ, **ENVIRONMENT, **QUICK_TO_NOTICE, "OMP_NUM_THREADS": "1", **own, **more}

    def start_ray(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a node with one processor; it is there when the link's other end sees it."""
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", f"--node-ip-address={self.address}", "--num-cpus=1", "--block", *words]
        with (self.folder / "ray.log").open("wb") as log:
            return subprocess.Popen(
                self.command(*command), env=self.environment(**environment), stdout=log, stderr=subprocess.STDOUT
            )

    def cut(self) -> None:
        """Nothing goes through the link any more."""
        _ip("-n", self.name, "link", "set", self.link, "down")

    def restore(self) -> None:
        _ip("-n", self.name, "link", "set", self.link, "up")

    def processes(self) -> list[int]:
        """What runs on this host."""
        return [int(word) for word in _ip("netns", "pids", self.name).split()]


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts with nothing on them. Whatever still runs there at the end is killed."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("networks of their own need root, iproute2 and util-linux")
    Path("/tmp/ray").mkdir(exist_ok=True)
    hosts = tuple(
        Host(f"{name}-{os.getpid()}", f"10.213.77.{number}", f"link{number}", folder / name)
        for number, name in ((1, "first"), (2, "second"))
    )
    made: list[Host] = []
    try:
        for host in hosts:
            for part in ("ray", "home", "data"):
                (host.folder / part).mkdir(parents=True)
            _ip("netns", "add", host.name)
            made.append(host)
            _ip("-n", host.name, "link", "set", "lo", "up")
        first, second = hosts
        _ip(
            "-n",
            first.name,
            "link",
            "add",
            first.link,
            "type",
            "veth",
            "peer",
            "name",
            second.link,
            "netns",
            second.name,
        )
        for host in hosts:
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.link)
            host.restore()
        yield first, second
    finally:
        for host in made:
            for process in host.processes():
                os.kill(process, signal.SIGKILL)
            _ip("netns", "delete", host.name)


@contextmanager
def ray_on_two_hosts(folder: Path, *more: str, **on_second: str) -> Iterator[tuple[Host, Host]]:
    """A Ray cluster of two hosts with a processor each. The second is started with `more` words and variables."""
    with two_hosts(folder) as (first, second):
        first.start_ray("--head", f"--port={PORT}", "--include-dashboard=false")
        second.start_ray("--address", f"{first.address}:{PORT}", *more, **on_second)
        wait_for_nodes(first, 2)
        yield first, second


def wait_for_nodes(host: Host, count: int) -> None:
    """Wait until the cluster of a host has so many nodes."""
    look = (
        "import ray, sys, time\n"
        f"ray.init(address='{host.address}:{PORT}', log_to_driver=False, logging_level='ERROR')\n"
        f"while sum(node['Alive'] for node in ray.nodes()) != {count}: time.sleep(0.2)\n"
    )
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            host.command(sys.executable, "-c", look),
            env=host.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.5)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
