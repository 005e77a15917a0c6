"""How well a run uses a Ray cluster: `python tests/benchmarks/cluster_use.py`, on a machine of two free processors.

First, real work: 20 trainings of about ten seconds on one node of one processor, then on two. Second, a cluster of 16
nodes that this machine only plays: 64 attacks that sleep stand in for the arithmetic.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import robuststack as rs
from robuststack.plugin.registry import Registry

sys.path.insert(0, str(Path(__file__).parent.parent))
from clusters import cluster

REAL = """
datasets: digits
architectures: {{name: resnet8, options: {{width: 16}}}}
threat: {{eps: 0.1}}
train: {{epochs: {epochs}, batch_size: 128, attack: {{name: pgd, options: {{steps: 2, step: relative}}}}}}
defenses: {{name: pgd_at, options: {{lambda: 0.5}}}}
attacks: noise
evaluate: {{limit: 10, block: 10}}
measure: {{latency: false}}
precision: float32
device: cpu
threads: 1
seeds: {seeds}
"""
PLAYED = """
datasets: digits
architectures: {{name: resnet8, options: {{width: 4}}}}
threat: {{eps: 0.1}}
train: {{epochs: 1, batch_size: 500}}
defenses: none
attacks: [{naps}]
evaluate: {{limit: 10, block: 10}}
measure: {{latency: false}}
precision: float32
device: cpu
threads: 1
"""
NAPS = '''
import time
import robuststack as rs

@rs.hookimpl
def register_attack(register):
    register("nap", "naps:Nap")

class Nap(rs.Attack):
    """Sleeps, and returns the images as they are."""
    needs_gradients = False

    class Options(rs.Options):
        number: int = rs.option(0, "Tells naps apart.", shown=True)
        seconds: float = rs.option(1.0, "How long.")

    @property
    def label(self):
        return f"nap {self.options.number}"

    def perturb(self, model, x, y, threat, generator):
        time.sleep(self.options.seconds)
        return x
'''


class Times:
    """When each job of a kind was given to a node, and when it was over."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.placed: dict[str, float] = {}
        self.over: dict[str, float] = {}

    @rs.hookimpl
    def job_placed(self, job: Any) -> None:
        if job.kind == self.kind:
            self.placed.setdefault(job.id, time.monotonic())  # Its blocks and its result are placed one after another.

    @rs.hookimpl
    def job_finished(self, job: Any) -> None:
        if job.kind == self.kind:
            self.over[job.id] = time.monotonic()

    @property
    def span(self) -> float:
        """Seconds from the first job to the last."""
        return max(self.over.values()) - min(self.placed.values())

    def seconds(self) -> float:
        """The median over jobs of the seconds from when it was given to a node until its result was in the store."""
        return statistics.median(over - self.placed[job] for job, over in self.over.items())


def run(text: str, kind: str, *cpus: int) -> tuple[float, Times]:
    """Seconds of a whole run, and the times of its jobs of a kind; nodes have so many processors."""
    with tempfile.TemporaryDirectory() as folder, cluster(*cpus) as nodes:
        suite = Path(folder) / "suite.yaml"
        suite.write_text(text)
        times = Times(kind)
        registry = Registry()
        registry.hooks.register(times)
        began = time.monotonic()
        result = rs.run(
            suite, store=Path(folder) / "store", leaderboard=None, registry=registry,
            executor=rs.RayOptions(address=nodes.address),
        )  # fmt: skip
        whole = time.monotonic() - began
        assert not result.failed
        return whole, times


def real(seeds: int, epochs: int) -> None:
    text = REAL.format(seeds=list(range(seeds)), epochs=epochs)
    (one, alone), (two, shared) = run(text, "train", 1), run(text, "train", 1, 1)
    print(f"{seeds} trainings of {alone.span / seeds:.1f} s: one node {one:.0f} s, two nodes {two:.0f} s", flush=True)
    print(f"efficiency of two nodes: {100 * one / two / 2:.0f} % of the whole run,", end=" ")
    print(f"{100 * alone.span / shared.span / 2:.0f} % from the first training to the last", flush=True)


def played(nodes: int, jobs: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "naps.py").write_text(NAPS)
        info = Path(folder) / "naps-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: naps\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[robuststack]\nnaps = naps\n")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        sys.path.insert(0, folder)
        naps = ", ".join(f"{{name: nap, options: {{number: {number}, seconds: {seconds}}}}}" for number in range(jobs))
        whole, times = run(PLAYED.format(naps=naps), "attack", *[1] * nodes)
    print(f"{jobs} naps of {seconds:g} s on {nodes} nodes: {whole:.0f} s in all,", end=" ")
    print(f"{times.span:.0f} s from the first to the last, {seconds * jobs / nodes:.0f} s of it sleep")
    print(f"a job takes {times.seconds() - seconds:.2f} s beside its nap (median)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=30, help="as many as take ten seconds here")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--nap", type=float, default=30.0, help="seconds")
    parser.add_argument("--only", choices=["real", "played"])
    chosen = parser.parse_args()
    if chosen.only != "played":
        real(chosen.seeds, chosen.epochs)
    if chosen.only != "real":
        played(chosen.nodes, chosen.jobs, chosen.nap)


if __name__ == "__main__":
    main()
