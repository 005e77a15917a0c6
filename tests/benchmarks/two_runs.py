"""How long two runs take that start together and both use all cores, against one alone.

`python tests/benchmarks/two_runs.py [REPEATS]`. A thread that waits for others of its process spins, unless
`OMP_WAIT_POLICY` is `passive`: then it sleeps, and the other run computes. With the OpenMP of gcc it can spin for a while
first. Each figure is the median of some repeats of a small training with attacks, without imports; the ways take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = """
datasets: {name: tradeoff, options: {images: 300, test_images: 100, size: 16, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 16}}
train: {epochs: 2, batch_size: 50, attack: {name: pgd, options: {steps: 3, step: relative}}}
defenses: pgd_at
attacks: {name: pgd, options: {steps: 10}}
measure: {latency: false}
precision: float32
device: cpu
"""
WAYS = {
    "as the library has it": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "a short spin": {"GOMP_SPINCOUNT": "10000"},
}
"""What is said of waiting -> the variables that say so."""
RUN = """
import sys, tempfile, time
import torch, robuststack as rs, robuststack.engine.jobs
print(torch.get_num_threads(), flush=True)
sys.stdin.readline()
with tempfile.TemporaryDirectory() as store:
    started = time.perf_counter()
    rs.run(sys.argv[1], store=store, leaderboard=None)
    print(time.perf_counter() - started)
"""


def seconds(suite: Path, waiting: dict[str, str], runs: int) -> tuple[float, str]:
    """The time until the last of the runs has ended, and the threads of each."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    env |= waiting
    command = [sys.executable, "-c", RUN, str(suite)]
    processes = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(runs)
    ]
    threads = [process.stdout.readline().strip() for process in processes if process.stdout]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0].split()[-1]) for process in processes), threads[0]


def main(repeats: int) -> None:
    measured: dict[tuple[str, int], list[float]] = {}
    threads = ""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "small.yaml")
        suite.write_text(SUITE)
        for _ in range(repeats):
            for way, waiting in WAYS.items():
                for runs in (1, 2):
                    took, threads = seconds(suite, waiting, runs)
                    measured.setdefault((way, runs), []).append(took)
    load = os.getloadavg()[0]
    print(f"{threads} threads a run, {os.cpu_count()} processors, load {load:.1f}; median [range]\n")
    print("| waiting | one run | two at once | ratio |\n|---|---|---|---|")
    for way in WAYS:
        one, two = measured[way, 1], measured[way, 2]
        cells = [f"{statistics.median(took):.2f} s [{min(took):.2f}, {max(took):.2f}]" for took in (one, two)]
        ratio = statistics.median(two) / statistics.median(one)
        print(f"| {way} | {cells[0]} | {cells[1]} | {ratio:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
