"""An architecture that a user might register: weights that two layers share, a block under two names, a layer of one weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.layers.roles import mark


class Tied(nn.Module):
    """Images [N, 3, 8, 8] -> logits [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = mark(nn.BatchNorm2d(8), "stem")
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.second.weight = self.first.weight
        self.block = nn.Sequential(nn.Conv2d(8, 8, 1), mark(nn.BatchNorm2d(8), "block"), nn.ReLU())
        self.again = self.block
        self.gain = nn.Conv2d(1, 1, 1, bias=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(x)).relu()
        y = y + self.second(self.first(y).relu())
        y = self.again(self.block(y)) * self.gain(y.mean(1, keepdim=True))
        return self.fc(y.mean((2, 3)))


class TiedArchitecture(rs.Architecture):
    """The same as a plugin."""

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        assert (shape, num_classes) == ((3, 8, 8), 4)
        return Tied()


def still_tied(model: nn.Module) -> bool:
    """Whether what was shared is shared, and the layer of one weight is a number."""
    first, second = model.get_submodule("first"), model.get_submodule("second")
    gain = model.get_parameter("gain.weight")
    return (
        first.weight is second.weight
        and model.get_submodule("again") is model.get_submodule("block")
        and bool(torch.isfinite(gain).all())
    )
