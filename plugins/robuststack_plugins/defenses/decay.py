"""Parameters that have a weight decay of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def decayed_apart(
    model: nn.Module, weight_decay: float, apart: Sequence[Tensor], decay_apart: float
) -> list[dict[str, Any]]:
    """The optimiser's groups: everything else, and the parameters `apart` with another decay."""
    known = {id(parameter) for parameter in apart}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": others, "weight_decay": weight_decay}, {"params": [*apart], "weight_decay": decay_apart}]
