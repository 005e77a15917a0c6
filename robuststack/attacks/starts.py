"""Where attacks begin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from robuststack.attacks.ball import Ball
from robuststack.plugin.threat import Threat

Start = Callable[[Tensor, Threat, Generator], Tensor]
"""(clean images [N, C, H, W], threat, generator) -> first iterates of that shape, before projection."""


def uniform_start(x: Tensor, threat: Threat, generator: Generator) -> Tensor:
    """Uniform in the ball (Madry et al., ICLR 2018)."""
    return Ball.of(x, threat).random(generator)


def surface_start(x: Tensor, threat: Threat, generator: Generator) -> Tensor:
    """At distance eps from the clean image (Croce and Hein, ICML 2020)."""
    return Ball.of(x, threat).random_on_surface(generator)


def normal_start(x: Tensor, threat: Threat, generator: Generator) -> Tensor:
    """The clean image and a thousandth of a standard normal (Zhang et al., TRADES, ICML 2019), whatever the norm."""
    return x + 0.001 * torch.empty_like(x).normal_(generator=generator)


def zero_start(x: Tensor, threat: Threat, generator: Generator) -> Tensor:
    """The clean image."""
    return x


STARTS: dict[str, Start] = {"uniform": uniform_start, "normal": normal_start, "zero": zero_start}
