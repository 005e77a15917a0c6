"""Training steps taken apart: what a defense asks of its step, and gradients to compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = rs.Threat(eps=0.1)
SHAPE, CLASSES, BATCH = (3, 8, 8), 4, 8


def images(count: int = BATCH) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.rand(count, *SHAPE, generator=source), torch.randint(CLASSES, (count,), generator=source)


def build(defense: rs.Defense, architecture: str = "resnet8", **options: Any) -> nn.Module:
    made = REGISTRY.create("architecture", architecture, options or {"width": 4})
    return models.build(defense, made, SHAPE, CLASSES, 0)


def attacked(x: Tensor) -> Tensor:
    """What the recorded attack makes of images: a fixed change, which takes no random numbers."""
    return (x + 0.1 * torch.linspace(-1, 1, SHAPE[-1])).clamp(0, 1)


class RecordedStep(training.Step):
    """A step whose attack is `attacked`, and that remembers what it was asked for."""

    def __init__(self, model: nn.Module, epoch: int = 0) -> None:
        super().__init__(model.train(), REGISTRY.create("attack", "pgd"), THREAT, RUNTIME, 3, 0)
        self.begin(*images(), epoch, 0)
        self.attacks: list[tuple[dict[str, Any], bool, Tensor, Tensor]] = []
        """(the view's values, whether it is stochastic, images, labels) of each attack."""
        self.losses: list[float] = []

    def attack(self, view, x, y, loss=None, start=None):
        assert loss is None
        assert start is None
        self.attacks.append((dict(view.values), view.stochastic, x, y))
        return attacked(x)

    def backward(self, loss: Tensor) -> None:
        self.losses.append(float(loss.detach()))
        super().backward(loss)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {path: parameter.grad.clone() for path, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same_gradients(model: nn.Module, other: nn.Module) -> None:
    first, second = gradients(model), gradients(other)
    assert first.keys() == second.keys() == {path for path, _ in model.named_parameters()}
    for path, gradient in first.items():
        torch.testing.assert_close(gradient, second[path], msg=lambda text, path=path: f"{path}: {text}")
