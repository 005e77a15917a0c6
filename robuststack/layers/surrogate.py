"""Models whose logits have no useful gradient, and say what to climb in their place."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class WithSurrogate(nn.Module, ABC):
    """A model that attacks climb by a surrogate: its own logits are exact and nearly flat.

    The loss is taken of the surrogate's logits, or of the exact ones where the surrogate's slope is zero; what an attack
    keeps is chosen by the exact ones. Libraries that call the model themselves get the gradient that `forward` gives them.
    """

    @abstractmethod
    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] -> the logits [N, K] of `forward`, and those that the loss is taken of."""
