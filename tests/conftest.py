"""Fixtures that several test modules share: one small suite, run once for the whole session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

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
evaluate: {draws: 4, batch_size: 100}
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
        (job,) = (one.id for one in self.result.plan.jobs if one.kind == "train" and f"/{defense}" in one.label)
        return job


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Real models of four defenses, trained and attacked once a session. Tests read them and change nothing."""
    folder = tmp_path_factory.mktemp("trained")
    suite = folder / "small.yaml"
    suite.write_text(SMALL_SUITE)
    result = rs.run(suite, store=folder / "store", leaderboard=folder / "leaderboard", device="cpu")
    return Trained(suite, folder / "store", folder / "leaderboard", result)


@pytest.fixture
def small_suite(tmp_path: Path) -> Path:
    """The small suite in a folder of its own, to be changed and run."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_SUITE)
    return path


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folding of batch norm, for tests that count forward passes or watch layers: it runs a model before it folds it."""
    from robuststack.layers.folding import Folding

    monkeypatch.setattr(Folding, "of", lambda self, view, images: view)
