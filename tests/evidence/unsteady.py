"""Models whose defect the engine refuses before any compute if it sees it, hidden from the few images that it looks at; and
attacks that break the rules. A check has to find them on its own.
"""

from __future__ import annotations

from typing import Any

import torch
from defects import Templates
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine.model_check import IMAGES

BEYOND = 1e-3
"""How far `Outside` leaves the ball."""


def unseen(x: Tensor) -> bool:
    """Whether the engine gives no such batch before compute: its large ones repeat a few images."""
    return len(x) > IMAGES and not torch.equal(x[0], x[IMAGES])


class Averaging(Templates):
    """Turns to train mode by itself: its norm takes the statistics of the batch, and keeps some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(len(self.templates), affine=False)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train(unseen(x))
        return self.norm(self.logits(x))


def averaging() -> nn.Module:
    return Averaging()


class Counting(Templates):
    """Counts its calls, which is no harm, or shifts its logits by the count, which is."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.shift = torch.tensor([shift, 0, 0, 0])

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x) > IMAGES
        return self.logits(x) + self.calls * self.shift


def counting() -> nn.Module:
    return Counting(0.0)


def drifting() -> nn.Module:
    return Counting(1e-3)


class Trembling(Templates):
    """Draws noise without a word; of a size that changes hardly a label."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return logits + 1e-3 * torch.randn_like(logits) if len(x) > IMAGES else logits


def trembling() -> nn.Module:
    return Trembling()


class Sociable(Templates):
    """Reads its neighbours in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return logits + 0.7 * logits.roll(1, 0) if unseen(x) else logits


def sociable() -> nn.Module:
    return Sociable()


class SociableNoise(Sociable):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + 0.1 * torch.randn_like(logits)


def sociable_noise() -> nn.Module:
    """Draws noise, as it is declared, and reads its neighbours."""
    return SociableNoise()


class Outside(rs.Attack):
    """Leaves the ball."""

    needs_gradients = False

    def perturb(self, model: Any, x: Tensor, y: Tensor, threat: rs.Threat, generator: Any) -> Tensor:
        return x + (threat.eps + BEYOND) * (0.5 - x).sign()


class Lost(rs.Attack):
    """Returns pixels that are no numbers."""

    needs_gradients = False

    def perturb(self, model: Any, x: Tensor, y: Tensor, threat: rs.Threat, generator: Any) -> Tensor:
        return x * torch.where(torch.arange(len(x)) == 0, torch.nan, 1.0)[:, None, None, None]
