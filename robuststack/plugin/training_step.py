"""One training batch, as a defense sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from robuststack.plugin.attack import Loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robuststack.layers.condition import View


class TrainStep(Protocol):
    """One training batch, as a defense's `training_step` receives it."""

    model: nn.Module
    x: Tensor
    """Clean images [B, C, H, W]."""
    y: Tensor
    """Labels [B]."""
    epoch: int
    """0-based."""
    epochs: int

    def attack(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        loss: Loss | None = None,
        start: Literal["uniform", "normal", "zero"] | None = None,
    ) -> Tensor:
        """Adversarial images against `view` by the recipe's training attack, in eval mode with frozen parameters.

        `y` holds the targets of `loss` (class indices or probabilities). Every module's mode is restored afterwards.
        """

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a scalar; may be called several times a step."""

    def observe(self, name: str, logits: Tensor, y: Tensor) -> None:
        """Count how often `logits` are right, for the progress display (`ca`, `ra`); no effect on training."""
