"""A small network, images and an attack, so that the kit needs no plugin but the one it checks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.roles import mark
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.threat import Threat

RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = Threat(eps=0.1)


def images(shape: tuple[int, int, int], classes: int, count: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images [N, C, H, W] in [0, 1] and labels [N]."""
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, *shape, generator=source), torch.randint(classes, (count,), generator=source)


class SmallResNet(Architecture):
    """A residual network of two blocks that has each role a norm can play but `final`."""

    name = "the kit's network"

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return _Network(shape[0], num_classes)


class TwoSteps(GradientAttack):
    """Two sign steps of half the radius."""

    name = "the kit's attack"
    steps = 2

    def step_size(self, threat: Threat) -> float:
        return threat.eps / 2


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = mark(nn.BatchNorm2d(outputs), "block")
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = mark(nn.BatchNorm2d(outputs), "block")
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.shortcut_norm = mark(nn.BatchNorm2d(outputs), "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(h + self.shortcut_norm(self.shortcut(x)))


class _Network(nn.Module):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        self.stem_norm = mark(nn.BatchNorm2d(4), "stem")
        self.blocks = nn.Sequential(_Block(4, 4, 1), _Block(4, 8, 2))
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        return self.classifier(h.mean((2, 3)))  # type: ignore[no-any-return]


class _Noisy(nn.Module):
    """The network behind noise on its input, one draw a forward pass for the whole batch."""

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, x: Tensor) -> Tensor:
        if self.scale:
            x = x + self.scale * torch.randn_like(x[:1])
        return self.network(x)  # type: ignore[no-any-return]


def victim(shape: tuple[int, int, int], classes: int, *, stochastic: bool) -> View:
    """A network to attack, deterministic or with noise of its own, in eval mode."""
    with seeded("victim"):
        network = _Network(shape[0], classes)
    network(images(shape, classes, 32)[0])  # In train mode: statistics that are not the initial ones.
    return View(_Noisy(network, 0.05 if stochastic else 0.0).eval(), stochastic=stochastic)
