"""What a defense of two phases costs beside its phases alone: `python tests/benchmarks/phases_cost.py`.

`logit_mix` trains what `none` and `pgd_at` at lambda 1 train. Times are processor time of train jobs in one thread, from
start to finish, the least of several rounds in turn; the first round warms up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import robuststack as rs
from robuststack.plugin.registry import Registry

SUITE = {
    "datasets": "digits",
    "architectures": {"name": "resnet8", "options": {"width": 24}},
    "threat": {"eps": 0.25},
    "train": {"epochs": 10, "attack": {"name": "pgd", "options": {"steps": 7, "step": "relative"}}},
    "attacks": "noise",
    "evaluate": {"limit": 20},
    "measure": {"latency": False},
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}
DEFENSES: dict[str, Any] = {
    "none": "none",
    "pgd_at": {"name": "pgd_at", "options": {"lambda": 1}},
    "logit_mix": {"name": "logit_mix", "points": {"alpha": [0.5]}},
}


class Clock:
    """Processor seconds of train jobs."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    @rs.hookimpl
    def job_started(self, job: Any) -> None:
        self.began = time.process_time()

    @rs.hookimpl
    def job_finished(self, job: Any) -> None:
        if job.kind == "train":
            self.seconds += time.process_time() - self.began


def trained(defense: Any) -> float:
    """Processor seconds of training a defense anew."""
    registry, clock = Registry(), Clock()
    registry.hooks.register(clock)
    with tempfile.TemporaryDirectory() as store:
        result = rs.run({**SUITE, "defenses": [defense]}, store=Path(store), leaderboard=None, registry=registry)
    assert not result.failed
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = [{name: trained(part) for name, part in DEFENSES.items()} for _ in range(parser.parse_args().rounds)]
    least = {name: min(seconds[name] for seconds in rounds[1:]) for name in DEFENSES}
    alone = least["none"] + least["pgd_at"]
    print(f"none {least['none']:.2f} s, pgd_at {least['pgd_at']:.2f} s, both {alone:.2f} s")
    print(f"logit_mix, two phases: {least['logit_mix']:.2f} s, {100 * (least['logit_mix'] / alone - 1):+.1f} %")


if __name__ == "__main__":
    main()
