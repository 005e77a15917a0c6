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
    """The model that is trained, in train mode."""
    x: Tensor
    """Clean images [B, C, H, W]."""
    y: Tensor
    """Labels [B]."""
    epoch: int
    """0-based."""
    epochs: int
    """How many the recipe has."""

    @property
    def images(self) -> int:
        """How many training images there are."""

    def attack(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        loss: Loss | None = None,
        start: Literal["uniform", "normal", "zero"] | None = None,
    ) -> Tensor:
        """Adversarial images [N, C, H, W] in [0, 1] against `view`, by the recipe's training attack and within its radius,
        or beyond it if that attack is `training_only`. Free training gives images that gather a gradient for its next step:
        a defense passes them on as they are.

        The model is in eval mode with frozen parameters for as long; every module's mode is restored afterwards. At a
        randomised view each step draws as many times as the attack's `draws`, by default once.

        Args:
            view: what is attacked, such as `self.view(step.model, setting)`.
            x: clean images [N, C, H, W], the whole batch or a part of it.
            y: the targets of the loss: labels [N], or probabilities [N, K] for a `loss` that takes them.
            loss: logits [N, K] and y -> what the attack raises [N]; default: the attack's own, cross-entropy for PGD.
            start: where it starts, unless its start is what makes it (`own_start`): `uniform` in the ball, `normal` (0.001
                times a standard normal draw, as in TRADES), or `zero`, the clean image; default: the attack's own.
        """

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a scalar; may be called several times a step."""

    def observe(self, name: str, logits: Tensor, y: Tensor) -> None:
        """Count how often `logits` are right, for the progress display (`ca`, `ra`); no effect on training."""
