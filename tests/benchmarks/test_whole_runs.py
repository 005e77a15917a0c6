"""What the pipeline, its progress display and its checkpoints cost beside the training itself; how the command starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import robuststack as rs
from robuststack.cli.progress import make_progress
from robuststack.plugin.registry import Registry
from workloads import in_turn

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
SUITE = """
datasets: {name: tradeoff, options: {images: 1280, test_images: 100, size: 8, nonrobust_strength: 0.05}}
architectures: {name: resnet8, options: {width: 24}}
threat: {eps: 0.1}
train: {epochs: 120, batch_size: 128, attack: {name: pgd, options: {steps: 7, step: relative}}}
defenses: {name: float, points: {lambda_n: [1]}}
attacks: {name: fgsm, options: {draws: 1}}
measure: {latency: false}
"""

IMPORT = """
import time, torch
started = time.perf_counter()
torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
print(time.perf_counter() - started)
"""


class Clock:
    """Seconds of train jobs from start to finish, and of their epochs alone."""

    def __init__(self) -> None:
        self.started = self.job = self.epochs = 0.0

    @rs.hookimpl
    def job_started(self, job: Any) -> None:
        self.started = time.perf_counter()

    @rs.hookimpl
    def epoch_finished(self, metrics: Any) -> None:
        self.epochs += metrics["seconds"]

    @rs.hookimpl
    def job_finished(self, job: Any) -> None:
        if job.kind == "train":
            self.job += time.perf_counter() - self.started


def test_overhead(table: Any, benchmark: Any, tmp_path: Path) -> None:
    """With the progress lines of the command. torch's optimisers import its compiler, once a process: a row of its own."""
    imported = float(subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True).stdout)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # Not to be counted again.
    suite = tmp_path / "overhead.yaml"
    suite.write_text(SUITE)
    registry, clock = Registry(), Clock()
    registry.hooks.register(clock)
    with make_progress(registry):
        benchmark.pedantic(
            rs.run, args=(suite,), kwargs={"store": tmp_path / "s", "leaderboard": None, "registry": registry}, rounds=1
        )
    work = "a training job: resnet8 of width 24, 120 epochs"
    table.add(work, "its epochs", clock.epochs, ratio=1)
    table.add(
        work, "all of it, with checkpoints, progress, store", clock.job, ratio=clock.job / clock.epochs, target="1.03"
    )
    table.add(work, "before it, once a process: import of torch's optimisers", imported)


@pytest.mark.parametrize(
    "words", ["--help", "list", "check --quick suites/float_vs_oat.yaml", "plan suites/float_vs_oat.yaml"]
)
def test_start_up(words: str, table: Any, benchmark: Any) -> None:
    # With compiled modules in place, as after any first start: the round that warms up writes them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def start() -> None:
        command = [sys.executable, "-m", "robuststack", *words.split()]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True, env=environment)

    seconds = in_turn({"start": start}, torch.device("cpu"), rounds=5)["start"]
    table.add("start-up of the command", f"robuststack {words}", seconds, target="below 0.4 s")
    benchmark.pedantic(start, rounds=1)
