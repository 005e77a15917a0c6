"""`train.checkpoint: best`: the epoch that the validation split likes most, whatever happens in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.engine import best_checkpoint
from robuststack.engine.data import Data
from robuststack.engine.jobs import execute
from robuststack.engine.workspace import Workspace
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import ComponentSpec
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite

CPU = Hardware("cpu", "float32")
EPOCHS = 4
SUITE = """
datasets:
  name: tradeoff
  options: {images: 200, test_images: 40, size: 8, classes: 3, noise: 0.1}
  threat: {eps: 0.05}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 4, batch_size: 50, checkpoint: best, attack: {name: pgd, options: {steps: 2}}}
defenses: spoiling
attacks: fgsm
"""


class Spoiling(rs.Defense):
    """Plain training whose last epoch turns every answer into another one."""

    def training_step(self, step: rs.TrainStep) -> None:
        step.backward(nn.functional.cross_entropy(step.model(step.x), step.y))

    def after_epoch(self, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, epochs: int) -> None:
        if epoch == epochs - 1:
            with torch.no_grad():
                for parameter in model.classifier.parameters():
                    parameter.neg_()


class Plugin:
    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("spoiling", f"{__name__}:Spoiling")


REGISTRY = Registry([*installed_sources(), PluginSource("spoiling", "spoiling", "1", Plugin)])


class Killed(Exception):
    """Stands for the end of the process."""


@dataclass
class Ran:
    """A finished train job, and the weights that its checkpoints held."""

    job: Job
    result: Mapping[str, Any]
    weights: bytes
    checkpoints: dict[int, bytes] = field(default_factory=dict)

    @property
    def validation(self) -> list[float]:
        return [epoch["validation_ra"] for epoch in self.result["history"]]


class WithoutTest(Workspace):
    """A workspace whose datasets have no test split."""

    def data(self, spec: ComponentSpec) -> dict[Any, Data]:
        return {split: data for split, data in super().data(spec).items() if split != "test"}


def train(folder: Path, *overrides: str, die_after: int | None = None) -> Ran:
    """Run the suite's train job, killed once after an epoch where that is wanted, and without the test images."""
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE)
    plan = make_plan(load_suite(folder / "suite.yaml", overrides), REGISTRY, CPU)
    (job,) = (planned for planned in plan.jobs if planned.kind == "train")
    store, checkpoints = Store(folder / "store"), {}

    def report(event: str, **facts: Any) -> None:
        saved = store.load_checkpoint(job.id, job.digest)
        if facts["epoch"] < EPOCHS:
            checkpoints[saved.epoch] = saved.files["model.safetensors"]
        if facts["epoch"] == die_after:
            raise Killed

    if die_after:
        with pytest.raises(Killed):
            execute(job, WithoutTest(REGISTRY, store, folder, CPU), report)
        die_after = None
    result = execute(job, WithoutTest(REGISTRY, store, folder, CPU), report)
    return Ran(job, result, store.read(job.id, "model.safetensors"), checkpoints)


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return train(tmp_path_factory.mktemp("best") / "run")


def test_the_kept_epoch_is_the_one_with_the_highest_validation_ra(best: Ran) -> None:
    kept = best.result["kept_epoch"]
    assert best.validation[kept - 1] == max(best.validation)
    assert best.validation.index(max(best.validation)) == kept - 1, "of equals the first"
    assert kept < EPOCHS, "the last epoch is spoiled"


def test_the_stored_weights_are_those_of_the_kept_epoch(best: Ran) -> None:
    assert best.weights == best.checkpoints[best.result["kept_epoch"]]
    others = [content for epoch, content in best.checkpoints.items() if epoch != best.result["kept_epoch"]]
    assert others
    assert best.weights not in others


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_killed_between_epochs_it_ends_the_same(best: Ran, tmp_path: Path, epoch: int) -> None:
    resumed = train(tmp_path / "run", die_after=epoch)
    assert resumed.weights == best.weights
    assert resumed.result["kept_epoch"] == best.result["kept_epoch"]
    assert resumed.result["history"] == best.result["history"]
    assert len(resumed.checkpoints) == EPOCHS - 1


def test_last_keeps_the_last_epoch_and_validates_nothing(best: Ran, tmp_path: Path) -> None:
    last = train(tmp_path / "run", "train.checkpoint=last")
    assert last.job.id != best.job.id
    assert last.result["kept_epoch"] == EPOCHS
    assert last.weights not in last.checkpoints.values()
    assert not any("validation_ra" in epoch for epoch in last.result["history"])
    assert last.checkpoints == best.checkpoints, "validating disturbs no training"


def test_it_validates_under_the_training_attack_at_the_most_robust_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def evaluate(
        attacker: Any, victim: Any, data: Data, attack: rs.Attack, threat: rs.Threat, *args: Any, **more: Any
    ) -> Any:
        calls.append((attacker.values, victim.values, len(data), attack.options.steps, threat.eps))
        return original(attacker, victim, data, attack, threat, *args, **more)

    original = best_checkpoint.evaluate
    monkeypatch.setattr(best_checkpoint, "evaluate", evaluate)
    train(tmp_path / "run", "defenses=float", "train.eps=0.02")
    robust = {"branch": 1, "noise": 1.0}
    assert calls == [(robust, robust, 20, 2, 0.02)] * EPOCHS


def test_the_validation_labels_decide(best: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all validation labels moved by one, other figures and another epoch come out, from the same training."""
    original = WithoutTest.data

    def moved(self: Workspace, spec: ComponentSpec) -> dict[Any, Data]:
        splits = original(self, spec)
        validation = splits["validation"]
        return {**splits, "validation": Data(validation.images, (validation.labels + 1) % 3)}

    monkeypatch.setattr(WithoutTest, "data", moved)
    other = train(tmp_path / "run")
    assert other.checkpoints == best.checkpoints
    assert other.validation != best.validation
    assert other.result["kept_epoch"] == other.validation.index(max(other.validation)) + 1
