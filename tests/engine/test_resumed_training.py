"""A training run that goes on from a checkpoint ends with the same weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from robuststack.engine.jobs import execute
from robuststack.engine.workspace import Workspace
from robuststack.plan.planner import make_plan
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from training_runs import DEFENSES, HARDWARE, REGISTRY, defense_of, equal, fresh, recipe_of, run, saved, weights


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "sgd") for name in DEFENSES), ("none", "adamw"), ("float", "adamw")]
)
def test_resuming_after_any_epoch_ends_with_the_same_weights(name, optimizer):
    defense, recipe = defense_of(name), recipe_of(optimizer=optimizer)
    whole, kept = fresh(defense, recipe), {}
    run(defense, whole, recipe, epoch_done=lambda epoch, _: kept.update({epoch: saved(whole)}))
    for epoch in (1, 2):
        torch.manual_seed(99 + epoch)  # Nothing may depend on the state of the default generator.
        resumed = fresh(defense, recipe)
        model, optimizer, resumed.epoch = torch.load(io.BytesIO(kept[epoch]), weights_only=True)
        resumed.model.load_state_dict(model)
        resumed.optimizer.load_state_dict(optimizer)
        run(defense, resumed, recipe)
        assert equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_forgetting_the_optimiser_would_be_noticed(optimizer):
    defense, recipe = defense_of("none"), recipe_of(optimizer=optimizer)
    whole, kept = fresh(defense, recipe), {}
    run(defense, whole, recipe, epoch_done=lambda epoch, _: kept.update({epoch: weights(whole.model)}))
    resumed = fresh(defense, recipe)
    resumed.model.load_state_dict(kept[1])
    resumed.epoch = 1
    run(defense, resumed, recipe)
    assert not equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("name", ["none", "float", "oat"])
def test_seeds_decide_the_weights(name):
    defense, recipe = defense_of(name), recipe_of(epochs=1)
    first, again, other = (weights(run(defense, fresh(defense, recipe), recipe, seed=s).model) for s in (0, 0, 1))
    assert equal(first, again)
    assert not equal(first, other)


SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 10, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 20, attack: {name: pgd, options: {steps: 2}}}
defenses: [none, pgd_at, float, {name: oat, options: {dim: 4}}]
attacks: fgsm
"""


class Killed(Exception):
    """Stands for the end of the process."""


def train_jobs(folder: Path, die_after: int | None = None) -> dict[str, bytes]:
    """The files of the suite's train jobs, run one after another; each may be killed once and run again."""
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE)
    plan = make_plan(load_suite(folder / "suite.yaml"), REGISTRY, HARDWARE)
    store, files = Store(folder / "store"), {}

    def report(event: str, **facts: Any) -> None:
        if facts["epoch"] == die_after:
            raise Killed

    for job in (planned for planned in plan.jobs if planned.kind == "train"):
        if die_after:
            with pytest.raises(Killed):
                execute(job, Workspace(REGISTRY, store, folder, HARDWARE), report)
            assert not store.has(job.id, job.digest)
            assert store.load_checkpoint(job.id, job.digest).epoch == die_after
        result = execute(job, Workspace(REGISTRY, store, folder, HARDWARE), lambda event, **facts: None)
        assert len(result["history"]) == len(result["epoch_seconds"]) == 3
        files[job.label] = store.read(job.id, "model.safetensors")
    return files


def test_a_killed_train_job_goes_on_and_ends_with_the_same_file(tmp_path):
    whole = train_jobs(tmp_path / "whole")
    assert len(whole) == 4
    assert train_jobs(tmp_path / "killed", die_after=2) == whole
