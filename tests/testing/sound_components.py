"""Components that keep their contract, the kit for each kind, and ways to change them."""

from __future__ import annotations

import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

import robuststack as rs
from robuststack.layers.condition import Condition, attach
from robuststack.plugin.registry import PluginSource, Registry
from robuststack.testing import (
    ArchitectureConformance,
    AttackConformance,
    ComponentConformance,
    DatasetConformance,
    DefenseConformance,
)
from robuststack.testing.network import SmallResNet, TwoSteps


class GoodDefense(rs.Defense):
    """Plain training behind input noise whose scale is a knob."""

    class Knobs(rs.Options):
        scale: float = rs.option(0.1, "Scale of the noise.", ge=0)

    def operating_points(self):
        return [{"scale": 0.0}, {"scale": 0.1}, {"scale": 0.2}]

    def build(self, architecture, shape, num_classes):
        condition = Condition("scale")
        model = Noisy(architecture.build(shape, num_classes), condition)
        return attach(model, condition)

    def setting(self, point):
        return rs.Setting({"scale": point["scale"]}, stochastic=point["scale"] > 0)

    def training_step(self, step):
        view = self.view(step.model, rs.Setting({"scale": 0.1}))
        step.backward(nn.functional.cross_entropy(view(step.x), step.y))

    def quiet(self, setting):
        return rs.Setting({"scale": 0.0}) if setting.stochastic else None


class Noisy(nn.Module):
    """A network behind noise on its input."""

    def __init__(self, network, condition):
        super().__init__()
        self.network, self.condition, self.draw = network, condition, None

    def freeze(self):
        self.draw = torch.randn(())

    def forward(self, x):
        scale = self.condition.read("scale")
        noise = self.draw if self.draw is not None else torch.randn_like(x[:1])
        return self.network(x + scale * noise) if scale else self.network(x)


class GoodArchitecture(SmallResNet):
    """A small residual network."""

    class Options(rs.Options):
        width: int = rs.option(4, "Channels.")


class GoodDataset(rs.Dataset):
    """Random images with a fingerprint."""

    shape, num_classes, fingerprint = (1, 4, 4), 3, "procedural"

    def size(self, split):
        return {"train": 20, "validation": 4, "test": 10}[split]

    def load(self, folder):
        source = np.random.RandomState(0)
        return {
            split: rs.Images(
                source.randint(256, size=(self.size(split), 1, 4, 4)).astype(np.uint8), np.arange(self.size(split)) % 3
            )
            for split in ("train", "validation", "test")
        }


class GoodAttack(TwoSteps):
    """Two steps on the sign of the gradient."""

    label = "Two"


def suite(kit: type[ComponentConformance], component: type, **facts: Any) -> ComponentConformance:
    """The kit on a class, registered as `broken` by a plugin of its own."""
    module = ModuleType("broken_component")
    module.Component = component  # type: ignore[attr-defined]
    sys.modules["broken_component"] = module

    def register(register):
        register("broken", "broken_component:Component")

    plugin = SimpleNamespace(**{f"register_{kit.kind}": rs.hookimpl(register)})
    registry = Registry([PluginSource("broken", "broken", "1", lambda: plugin)])
    facts = {"component": "broken", "registry": classmethod(lambda cls: registry), **facts}
    return type("Broken", (kit,), facts)()


def checks(kit: type) -> list[str]:
    return [name for name in dir(kit) if name.startswith("test_")]


KITS = {
    DefenseConformance: GoodDefense,
    ArchitectureConformance: GoodArchitecture,
    DatasetConformance: GoodDataset,
    AttackConformance: GoodAttack,
}
NEEDS_A_PROCESS = "test_registering_and_importing_it_imports_no_torch"


def changed(**attributes):
    """Build the good network, with modules put on it."""

    def build(self, shape, num_classes):
        model = SmallResNet.build(self, shape, num_classes)
        for path, value in attributes.items():
            setattr(model, path, value)
        return model

    return build


def forward(function):
    """Build the good network with another forward pass: `function(network, x, logits)`."""

    class Other(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            return function(self, x, self.network(x))

    return lambda self, shape, num_classes: Other(SmallResNet.build(self, shape, num_classes))


SHARED = nn.Linear(1, 1)
UNSEEDED = random.SystemRandom()
"""What no seed of the host's reaches."""
