"""The small suite that test modules share, and what a finished run of it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import robuststack as rs

SMALL_SUITE = """
datasets:
  name: tradeoff
  options: {images: 600, test_images: 200, size: 8, classes: 4, nonrobust_strength: 0.05, noise: 0.1}
  threat: {eps: 0.1}
architectures: {name: resnet8, options: {width: 8}}
train: {epochs: 4, batch_size: 50, attack: {name: pgd, options: {steps: 3, step: relative}}}
defenses:
  - none
  - {name: pgd_at, sweep: {lambda: [1.0]}}
  - {name: float, points: {lambda_n: [0, 1]}}
  - {name: oat, options: {dim: 4}, points: {lambda: [0, 1]}}
attacks: [fgsm, {name: pgd, options: {steps: 5, draws: 2}}]
evaluate: {draws: 4, block: 100}
measure: {repeats: 3, warmup: 1, batch_size: 8}
precision: float32
"""


@dataclass(frozen=True)
class Trained:
    """A finished run of `SMALL_SUITE`."""

    suite: Path
    store: Path
    leaderboard: Path
    result: rs.Result

    def job(self, defense: str) -> str:
        """The id of the train job of a defense."""
        (job,) = (
            planned.id
            for planned in self.result.plan.jobs
            if planned.kind == "train" and f"/{defense}" in planned.label
        )
        return job
