"""A tiny suite with a deterministic and a randomised point, run and bundled once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import robuststack as rs

BUNDLED_SUITE = """
datasets: {name: tradeoff, options: {images: 100, test_images: 60, size: 8, classes: 4, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 50, attack: {name: pgd, options: {steps: 1, step: relative}}}
defenses:
  - none
  - {name: float, points: {lambda_n: [0, 1]}}
attacks: [fgsm, {name: pgd, options: {steps: 2}}, "corruption:gaussian_noise"]
evaluate: {draws: 4, block: 20, readings: [majority 2]}
measure: {latency: false}
precision: float32
"""


@dataclass(frozen=True)
class BundledRun:
    """A finished run of `BUNDLED_SUITE`, and its bundle with weights."""

    folder: Path
    result: rs.Result
    path: Path

    @property
    def suite(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def leaderboard(self) -> Path:
        return self.folder / "leaderboard"


def run(folder: Path) -> BundledRun:
    """Run the suite in a folder, and bundle it."""
    suite = folder / "tiny.yaml"
    suite.write_text(BUNDLED_SUITE)
    store, leaderboard = folder / "store", folder / "leaderboard"
    result = rs.run(suite, store=store, leaderboard=leaderboard, device="cpu")
    made = rs.bundle(suite, folder / "tiny.bundle", weights=True, store=store, leaderboard=leaderboard)
    return BundledRun(folder, result, made.path)
