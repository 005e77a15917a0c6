"""Networks with a layer of features, honest and with a defect planted inside: what the binarisation test is for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import defects
import torch
from torch import Tensor, nn

from robuststack.layers.surrogate import WithSurrogate

WIDTH = 128
KEPT = 0.1
"""The share of the features that win."""
NOISE = 40.0
"""Times the gradient."""


class Layered(nn.Module):
    """Random features, and a linear layer that is fitted to the labels of the test images."""

    def __init__(
        self, inside: Callable[[Tensor], Tensor] = torch.relu, before: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        images, labels = defects.data()
        source = torch.Generator().manual_seed(0)
        sizes = [images[0].numel(), WIDTH, WIDTH]
        self.hidden = nn.ModuleList(nn.Linear(*pair, bias=False) for pair in pairwise(sizes))
        for layer in self.hidden:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=source)
        self.inside, self.before = inside, before or (lambda x: x)
        self.readout = nn.Linear(WIDTH, 4, bias=False)
        with torch.no_grad():
            wanted = 10 * nn.functional.one_hot(labels, 4).float()
            self.readout.weight.copy_(torch.linalg.lstsq(self.features(images), wanted, driver="gelsd").solution.T)

    def features(self, x: Tensor) -> Tensor:
        hidden = 4 * (self.before(x) - 0.5).flatten(1)
        for layer in self.hidden:
            hidden = self.inside(layer(hidden))
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.features(x))


def honest() -> nn.Module:
    return Layered()


class Paired(Layered):
    """Cannot take a batch of one image, so the engine gives it that image twice."""

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) > 1
        return super().forward(x)


class Surrogated(Layered, WithSurrogate):
    """Has attacks take their loss of something that is worth nothing to a readout of its features."""

    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self(x)
        return logits, x.flatten(1)[:, :4]


def surrogated() -> nn.Module:
    return Surrogated()


def noisy() -> nn.Module:
    """An honest randomised model: noise on the features."""
    return Layered(before=lambda x: x + 0.05 * torch.randn_like(x))


def winners() -> nn.Module:
    """k winners take all (Xiao et al., ICLR 2020): each image has other winners, so gradients lead nowhere."""

    def winning(hidden: Tensor) -> Tensor:
        least = hidden.topk(round(KEPT * hidden.shape[1]), 1).values[:, -1:]
        return torch.where(hidden >= least, hidden, 0.0)

    return Layered(winning)


def rounded() -> nn.Module:
    """Rounds inside: the gradient is zero."""
    return Layered(before=lambda x: (x * 16).round() / 16)


def buried() -> nn.Module:
    """Noise that hides the gradient of one draw, and changes no label."""
    return Layered(before=lambda x: x + NOISE * (x - x.detach()) * torch.randn_like(x))
