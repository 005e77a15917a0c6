"""A model that RobustStack does not train: evaluated like any other, known by its content, not by where it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite

SUITE = """
datasets: {{name: tradeoff, options: {{images: 50, test_images: 40, size: 8, classes: 3}}, threat: {{eps: 0.1}}}}
architectures: resnet8
train: {{batch_size: 10}}
defenses: {{name: weights, options: {{file: {file}}}}}
attacks: fgsm
seeds: [0, 1]
measure: {{latency: false}}
"""


class Weights(rs.Defense):
    """A linear model from a file."""

    trains = False

    class Options(rs.Options):
        file: str = rs.option("", "The file.", place=True)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(Path(self.options.file).read_bytes()).hexdigest()

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))
        model.load_state_dict(torch.load(self.options.file, weights_only=True))
        return model


class Plugin:
    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("weights", f"{__name__}:Weights")


@pytest.fixture
def registry() -> Registry:
    return Registry([*installed_sources(), PluginSource("weights", "weights", "1", Plugin)])


def written(folder: Path, seed: int) -> Path:
    """A suite beside the weights of a seed."""
    folder.mkdir()
    torch.manual_seed(seed)
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).state_dict(), folder / "model.pt")
    suite = folder / "foreign.yaml"
    suite.write_text(SUITE.format(file=folder / "model.pt"))
    return suite


def ids(suite: Path, registry: Registry) -> list[str]:
    return [job.id for job in make_plan(load_suite(suite), registry, Hardware("cpu", "float32")).jobs]


def test_it_is_attacked_and_measured_without_training(tmp_path: Path, registry: Registry) -> None:
    suite = written(tmp_path / "a", seed=0)
    result = rs.run(suite, store=tmp_path / "store", leaderboard=tmp_path / "board", registry=registry)
    (row,) = result.rows
    assert row.parameters == 3 * 8 * 8 * 3 + 3
    assert row.jobs.train == {}
    assert row.train_seconds_per_epoch is None
    assert row.ca.spread is None


def test_its_jobs_are_known_by_the_content_of_the_file_not_by_its_place(tmp_path: Path, registry: Registry) -> None:
    here = ids(written(tmp_path / "a", seed=0), registry)
    assert ids(written(tmp_path / "b", seed=0), registry) == here
    assert not set(ids(written(tmp_path / "c", seed=1), registry)) & set(here)
