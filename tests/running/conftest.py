"""A suite file: a small one or the module's own."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL_SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 60, size: 8, classes: 3, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: 1}}]
attacks: {name: pgd, options: {steps: 2}}
evaluate: {draws: 3}
precision: float32
device: cpu
threads: 1
"""


@pytest.fixture
def suite(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The small suite, or the module's own `SUITE`."""
    path = tmp_path / "small.yaml"
    path.write_text(getattr(request.module, "SUITE", SMALL_SUITE))
    return path
