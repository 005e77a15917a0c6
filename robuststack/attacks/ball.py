"""The ball of the threat model."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.plugin.threat import Threat


def project(candidate: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """The nearest image in the Linf ball around `x` and in [0, 1]."""
    return torch.minimum(torch.maximum(candidate, (x - threat.eps).clamp_(min=0)), (x + threat.eps).clamp_(max=1))
