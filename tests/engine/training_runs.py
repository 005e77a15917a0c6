"""Small models, data and training runs that the tests of training share."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.data import Data
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.plugin.registry import Registry
from robuststack.suite.recipe import Recipe

REGISTRY = Registry()
HARDWARE = Hardware("cpu", "float32")
RUNTIME = Runtime(HARDWARE)
THREAT = rs.Threat(eps=0.1)
SHAPE, CLASSES, BATCH = (3, 8, 8), 4, 8

DEFENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "pgd_at": ("pgd_at", {"lambda": 0.5}),
    "float": ("float", {}),
    "float code": ("float", {"recipe": "code"}),
    "oat": ("oat", {"dim": 4}),
    "oat dim 1": ("oat", {"dim": 1}),
}


def defense_of(name: str) -> rs.Defense:
    registered, options = DEFENSES[name]
    return REGISTRY.create("defense", registered, options)


def build(defense: rs.Defense, seed: int = 0) -> nn.Module:
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    return RUNTIME.place(models.build(defense, architecture, SHAPE, CLASSES, seed))


def make_data(count: int = 20) -> Data:
    source = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (count,), generator=source)
    return Data(torch.rand(count, *SHAPE, generator=source), labels)


def recipe_of(**changes: Any) -> Recipe:
    return Recipe(**{"epochs": 3, "batch_size": BATCH, "lr": 0.05, **changes})


def run(
    defense: rs.Defense,
    state: training.State,
    recipe: Recipe,
    *,
    epoch_done: Callable[[int, Mapping[str, float]], None] = lambda epoch, metrics: None,
    seed: int = 0,
) -> training.State:
    attack = REGISTRY.create("attack", "pgd", {"steps": 2, "draws": 1})
    return training.train(
        state, defense, make_data(), attack, THREAT, recipe, RUNTIME,
        seed=seed, augmentation=rs.Augmentation(pad=1, flip=True), epoch_done=epoch_done,
    )  # fmt: skip


def fresh(defense: rs.Defense, recipe: Recipe) -> training.State:
    return training.begin(defense, build(defense), recipe)


def step_of(defense: rs.Defense, model: nn.Module, steps: int = 2) -> training.Step:
    """One batch of `BATCH` images, ready for the defense's training step."""
    attack = REGISTRY.create("attack", "pgd", {"steps": steps, "draws": 1})
    step = training.Step(model.train(), attack, THREAT, RUNTIME, 3, 0)
    data = make_data(BATCH)
    step.begin(data.images, data.labels, 0, 0)
    return step


# Resuming


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def saved(state: training.State) -> bytes:
    buffer = io.BytesIO()
    torch.save([state.model.state_dict(), state.optimizer.state_dict(), state.epoch], buffer)
    return buffer.getvalue()
