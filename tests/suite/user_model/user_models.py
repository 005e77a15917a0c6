"""Models, datasets and plugins that the tests of a user's own model share."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import models
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

CPU = Hardware("cpu", "float32")
SHAPE, CLASSES = (3, 8, 8), 4
SUITE = """
datasets:
  name: tradeoff
  options: {images: 60, test_images: 30, size: 8, classes: 4}
  threat: {eps: 0.1}
architectures: {name: resnet8, options: {width: 4}}
defenses: DEFENSES
attacks: ATTACKS
evaluate: {draws: 2}
measure: {latency: false}
precision: float32
"""
NETWORK = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))\n"
NUMBERS = count()


class Jitter(rs.Attack):
    """Moves every pixel by eps, up or down at random."""

    needs_gradients = False

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, threat: rs.Threat, generator: torch.Generator) -> Tensor:
        return x + threat.eps * (torch.rand(x.shape, generator=generator) - 0.5).sign()


class Blind(rs.Defense):
    """A defense whose models give no gradients."""

    differentiable = False


class Own(rs.Defense):
    """A defense that brings its model."""

    trains = False

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))


class Grey(rs.Dataset):
    """Made-up images of one channel."""

    shape = (1, 8, 8)
    num_classes = 4
    fingerprint = "made up"

    def size(self, split: rs.Split) -> int:
        return 8

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return self.stand_in(8)


class Recoloured(Grey):
    """The same, with a way out for networks that take colour."""

    class Options(rs.Options):
        channels: int = rs.option(1, "Channels.")


class Plugin:
    @rs.hookimpl
    def register_attack(self, register: Any) -> None:
        register("jitter", f"{__name__}:Jitter")

    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("blind", f"{__name__}:Blind")
        register("own", f"{__name__}:Own")

    @rs.hookimpl
    def register_dataset(self, register: Any) -> None:
        register("grey", f"{__name__}:Grey")
        register("recoloured", f"{__name__}:Recoloured")


class Watch:
    """Counts the jobs that were started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    @rs.hookimpl
    def job_started(self, job: Any) -> None:
        self.started.append(job.kind)


def network(defense: str = "none", classes: int = CLASSES, width: int = 4, seed: int = 0) -> nn.Module:
    registry = Registry()
    architecture = registry.create("architecture", "resnet8", {"width": width})
    return models.build(registry.create("defense", defense), architecture, SHAPE, classes, seed)


def weights(path: Path, **more: Any) -> dict[str, Tensor]:
    """The state of a network, also written as a safetensors file."""
    state = network(**more).state_dict()
    safetensors.torch.save_file(state, path)
    return state


def module(source: str) -> str:
    """The name of a new module in the working directory."""
    name = f"given_{next(NUMBERS)}"
    Path(f"{name}.py").write_text(source)
    return name


def ids(path: Path, registry: Registry) -> list[str]:
    return [job.id for job in make_plan(load_suite(path), registry, CPU).jobs]
