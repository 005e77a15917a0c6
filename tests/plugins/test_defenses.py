"""What every defense that trains has to manage: learn, go on after a kill, and train in lower precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from steps import REGISTRY, RUNTIME, SHAPE, THREAT, build, images
from torch import nn

import robuststack as rs
from robuststack.engine import data as data_module
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.jobs import execute
from robuststack.engine.runtime import Runtime
from robuststack.engine.workspace import Workspace
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.options import parse
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe

OPTIONS: dict[str, dict[str, Any]] = {
    "pgd_at": {"lambda": 0.5},
    "pni": {"warmup_epochs": 1},
    "floats_sparse": {"density": 0.5},
    "oat": {"dim": 4},
    "oats": {"dim": 4},
    "adv_bnn": {"prior": 1.0, "deviation": 0.02},  # On few images the published prior outweighs them.
}
NAMES = [
    registration.name for registration in Registry()
    if registration.kind == "defense" and registration.distribution == "robuststack" and registration.load().trains
]  # fmt: skip


def defense_of(name: str) -> rs.Defense:
    return REGISTRY.create("defense", name, OPTIONS.get(name, {}))


TRAINERS = [name for name in NAMES if not defense_of(name).phases(Recipe())]
"""Defenses that train in one go. Each phase of the others is trained by one of these (`tests/engine/test_phases.py`)."""

# Learning


@torch.no_grad()
def accuracy(view: nn.Module, data: data_module.Data) -> float:
    return float((view(data.images).argmax(1) == data.labels).float().mean())


@pytest.mark.parametrize("name", TRAINERS)
def test_three_epochs_lead_past_chance_at_every_width(name, tmp_path):
    options = {"images": 600, "test_images": 200, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.1}
    dataset = REGISTRY.create("dataset", "tradeoff", options)
    data = data_module.load(dataset, tmp_path, RUNTIME.device)
    defense, recipe = defense_of(name), Recipe(epochs=3, batch_size=50, lr=0.1)
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 16})
    state = training.begin(defense, models.build(defense, architecture, dataset.shape, 4, 0), recipe)
    attack = REGISTRY.create("attack", "pgd", {"steps": 1, "step": "relative", "draws": 1})
    training.train(
        state, defense, data["train"], attack, THREAT, recipe, RUNTIME,
        seed=0, augmentation=dataset.augmentation, epoch_done=lambda epoch, metrics: None,
    )  # fmt: skip
    state.model.eval()
    torch.manual_seed(0)
    points = [parse(type(defense).Knobs, point).resolved() for point in defense.operating_points()]
    accuracies = {str(point): accuracy(defense.deploy(state.model, point), data["test"]) for point in points}
    # Chance is 25 %; on 200 images 40 % is five standard deviations above it.
    assert max(accuracies.values()) > 0.4, accuracies
    for width in {point["width"] for point in points if "width" in point}:
        assert max(value for point, value in accuracies.items() if f"'width': {width}" in point) > 0.4, accuracies


# Going on after a kill

SUITE = """
datasets: {name: tradeoff, options: {images: 40, test_images: 10, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 20, attack: {name: pgd, options: {steps: 2}}}
defenses: [%s]
attacks: fgsm
"""


class Killed(Exception):
    """Stands for the end of the process."""


def trained(name: str, folder: Path, die_after: tuple[int, ...] = ()) -> bytes:
    """The file of a train job, which may be killed after epochs and run again each time."""
    folder.mkdir()
    part = str({"name": name, "options": OPTIONS.get(name, {})})
    (folder / "suite.yaml").write_text(SUITE % part)
    hardware = Hardware("cpu", "float32")
    (job,) = (
        planned
        for planned in make_plan(load_suite(folder / "suite.yaml"), REGISTRY, hardware).jobs
        if planned.kind == "train"
    )
    store = Store(folder / "store")

    for last in die_after:

        def report(event: str, *, last: int = last, **facts: Any) -> None:
            if facts["epoch"] == last:
                raise Killed

        with pytest.raises(Killed):
            execute(job, Workspace(REGISTRY, store, folder, hardware), report)
    execute(job, Workspace(REGISTRY, store, folder, hardware), lambda event, **facts: None)
    return store.read(job.id, "model.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_training_goes_on_and_ends_with_the_same_file(name, tmp_path):
    assert trained(name, tmp_path / "killed", die_after=(1, 2)) == trained(name, tmp_path / "whole")


# Lower precision


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", TRAINERS)
def test_every_parameter_learns_in_every_precision(name, precision):
    """Older torch keeps weight casts made under no_grad, and would then train nothing but norms and biases."""
    defense, runtime = defense_of(name), Runtime(Hardware("cpu", precision))
    model = build(defense)
    step = training.Step(model.train(), REGISTRY.create("attack", "pgd", {"steps": 2}), THREAT, runtime, 3, 0)
    step.begin(*images(), 2, 0)
    with runtime.autocast():
        defense.training_step(step)
    missing = [
        path
        for path, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert missing == []


@pytest.mark.parametrize("name", TRAINERS)
def test_a_batch_is_one_step_of_the_optimiser(name):
    defense, recipe = defense_of(name), Recipe(epochs=1, batch_size=8, lr=0.05)
    state, steps = training.begin(defense, build(defense), recipe), []
    state.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    attack = REGISTRY.create("attack", "pgd", {"steps": 1, "draws": 1})
    training.train(
        state, defense, data_module.Data(*images(24)), attack, THREAT, recipe, RUNTIME,
        seed=0, augmentation=rs.Augmentation(), epoch_done=lambda epoch, metrics: None,
    )  # fmt: skip
    assert len(steps) == 3
    assert defense.deploy(state.model.eval(), points_of(defense)[-1])(torch.rand(1, *SHAPE)).isfinite().all()


def points_of(defense: rs.Defense) -> list[dict[str, Any]]:
    return [parse(type(defense).Knobs, point).resolved() for point in defense.operating_points()]
