"""A whole suite on two nodes of a Ray cluster, one of which is killed at a random moment: what it leaves must be, byte for
byte but times, what processes of this machine leave.

`python tests/faults/nodes_killed.py suites/float_vs_oat.yaml --times 10 --folder DIR`, about seven minutes a time on two
processors. What is in DIR is used again. Each time starts from nothing, and its number is the seed of its moment. A fresh
node comes for the one that was killed. It ends with code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import robuststack as rs
from robuststack.plugin.registry import Registry

sys.path.insert(0, str(Path(__file__).parent.parent))
from clusters import cluster
from stores import contents, untimed


class NodeKiller:
    """Kills the second node, a random share of `span` seconds after the first job was placed, and adds a fresh one."""

    def __init__(self, nodes: Any, span: float, seed: int) -> None:
        self.moment = random.Random(seed).uniform(0, span)
        self.notices: list[str] = []
        self.killed = False
        self._nodes = nodes
        self._lost = nodes.add_node(num_cpus=1, include_dashboard=False)
        self._timer = threading.Timer(self.moment, self._kill)
        self._replaced = False

    @rs.hookimpl
    def job_placed(self) -> None:
        if self._timer.ident is None:
            self._timer.start()
        self._replace()

    @rs.hookimpl
    def epoch_finished(self) -> None:
        self._replace()

    @rs.hookimpl
    def job_noticed(self, text: str) -> None:
        self.notices.append(text)
        self._replace()

    def _kill(self) -> None:
        self._nodes.remove_node(self._lost, allow_graceful=False)
        self.killed = True

    def stop(self) -> None:
        """The run is over."""
        self._timer.cancel()

    def _replace(self) -> None:
        """In the main thread, in which alone Ray starts nodes."""
        if self.killed and not self._replaced:
            self._replaced = True
            self._nodes.add_node(num_cpus=1, include_dashboard=False)


def seconds(store: Path) -> float:
    """What all finished jobs took together."""
    return sum(json.loads(path.read_text())["seconds"] for path in store.glob("*/*/result.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--folder", type=Path, required=True)
    chosen = parser.parse_args()
    local = rs.run(chosen.suite, store=chosen.folder / "local", leaderboard=None, workers=2)
    wanted, rows = contents(chosen.folder / "local"), [untimed(row) for row in local.rows]
    span = seconds(chosen.folder / "local") / 2
    for seed in range(chosen.first, chosen.first + chosen.times):
        store = chosen.folder / f"ray-{seed}"
        shutil.rmtree(store, ignore_errors=True)
        started = time.monotonic()
        with cluster(1) as nodes:
            killer = NodeKiller(nodes, span, seed)
            registry = Registry()
            registry.hooks.register(killer)
            where = rs.RayOptions(address=nodes.address)
            spread = rs.run(chosen.suite, store=store, leaderboard=None, executor=where, registry=registry)
            killer.stop()
        same = contents(store) == wanted and [untimed(row) for row in spread.rows] == rows
        moment = f"after {killer.moment:.0f} s" if killer.killed else "no node, the run was over"
        lost = "; ".join(killer.notices) or "no job was lost"
        verdict = "the same" if same and not spread.failed else "DIFFERENT"
        print(f"{seed}: killed {moment}: {lost}; {time.monotonic() - started:.0f} s: {verdict}", flush=True)
        if verdict == "DIFFERENT":
            sys.exit(1)
        shutil.rmtree(store)


if __name__ == "__main__":
    main()
