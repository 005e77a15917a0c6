"""Whether this checkout is slower than another: `python tests/benchmarks/two_checkouts.py CHECKOUT`.

A process of each does the same piece of work in turn, with one thread, and tells its processor time. The ratio is the
median over rounds. Both run with the packages that are installed here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent.parent
WORK = r"""
import sys, time
import torch
import robuststack as rs
import workloads
from workloads import REGISTRY, built, here, ours, step_of

torch.set_num_threads(1)
RUNTIME = here("cpu", "float32")
torch.manual_seed(0)


def attack(name, defense, architecture, images, options, **point):
    component = REGISTRY.create("defense", defense)
    model = built(component, architecture, (3, 32, 32), RUNTIME).eval()
    view = component.view(model, component.setting(component.whole_point(point)))
    x = torch.rand(images, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.arange(images) % 10
    return lambda: ours(view, x, y, RUNTIME, name, **options)


PGD = {"steps": 20, "draws": 1, "early_stop": False}
AUTO = {"iterations": 20, "draws": 2}
TASKS = {
    "PGD-20, ResNet-18, 32 images": attack("pgd", "none", "resnet18", 32, PGD),
    "PGD-20, FLOAT, ResNet-8, 100 images": attack("pgd", "float", "resnet8", 100, PGD, lambda_n=1.0),
    "AutoAttack-rand, FLOAT, ResNet-8, 50 images": attack("autoattack_rand", "float", "resnet8", 50, AUTO, lambda_n=1.0),
    "FLOAT step, PGD-7, ResNet-18, 32 images": step_of("float", "resnet18", 32, 7, RUNTIME),
}
print(*TASKS, sep="\t", flush=True)
for line in sys.stdin:
    task = TASKS[line.strip()]
    started = time.process_time()
    task()
    print(time.process_time() - started, flush=True)
"""
MAIN_JOB = "the main job, short"


def environment(checkout: Path) -> dict[str, str]:
    paths = (checkout, checkout / "plugins", checkout / "tests", checkout / "tests" / "benchmarks")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}


class Worker:
    """A process that works with the code of a checkout."""

    def __init__(self, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORK], env=environment(checkout), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.tasks = self._process.stdout.readline().rstrip("\n").split("\t")

    def seconds(self, task: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(task, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def main_job(checkout: Path) -> float:
    """Processor time of the main suite with few epochs and images, from nothing, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", str(checkout / "suites" / "float_vs_oat.yaml"), "--store", f"{folder}/store", "--workers", "1"]
        words += ["--leaderboard", f"{folder}/board", "--set", "train.epochs=3", "--set", "evaluate.limit=100"]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "robuststack", *words], env=environment(checkout), stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"the main job of {checkout} failed with status {status}")
        return usage.ru_utime + usage.ru_stime


def row(task: str, pairs: list[tuple[float, float]]) -> list[str]:
    ratios = sorted(now / before for now, before in pairs)
    now, before = (statistics.median(column) for column in zip(*pairs, strict=True))
    middle = statistics.median(ratios)
    return [task, f"{before:.2f}", f"{now:.2f}", f"{middle:.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of another checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--main-job-rounds", type=int, default=3)
    chosen = parser.parse_args()
    here, there = Worker(ROOT), Worker(chosen.checkout)
    rows = []
    for task in here.tasks:
        here.seconds(task), there.seconds(task)
        rows.append(row(task, [(here.seconds(task), there.seconds(task)) for _ in range(chosen.rounds)]))
        print(*rows[-1], sep="  ", flush=True)
    pairs = [(main_job(ROOT), main_job(chosen.checkout)) for _ in range(chosen.main_job_rounds)]
    rows += [row(MAIN_JOB, pairs)] if pairs else []
    header = ["work", "s before", "s now", "now / before"]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
