"""Where attacks begin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robuststack.plugin.threat import Threat

Start = Callable[[Tensor, Threat, torch.Generator], Tensor]


def uniform_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """Uniform in the Linf ball."""
    noise = torch.empty_like(x).uniform_(-threat.eps, threat.eps, generator=source)
    return x + noise


def normal_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """A thousandth of a standard normal (the start of TRADES)."""
    return x + 0.001 * torch.empty_like(x).normal_(generator=source)


def zero_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """The clean image."""
    return x


STARTS: dict[str, Start] = {"uniform": uniform_start, "normal": normal_start, "zero": zero_start}
