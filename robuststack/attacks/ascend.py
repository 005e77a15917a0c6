"""The one attack loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.eot import loss_gradient
from robuststack.attacks.margins import still_open
from robuststack.attacks.restarts import worst
from robuststack.attacks.starts import Start
from robuststack.plugin.attack import Loss
from robuststack.plugin.threat import Threat


def ascend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    source: torch.Generator,
    *,
    start: Start,
    loss: Loss,
    update: Callable[[Tensor, Tensor, float], Tensor],
    step: float,
    steps: int,
    restarts: int,
    draws: int,
    early_stop: bool = False,
) -> Tensor:
    """Climb the loss by projected gradient steps: x [N, C, H, W] -> adversarial images of that shape.

    Each step averages the loss gradient over `draws` forward passes (EOT). Of several restarts, and of itself, each image
    keeps what has the largest margin of a wrong class over the right one. With `early_stop` an image that a model `settles`
    is kept as it is, and costs nothing more, in this restart and in later ones.
    """
    leaves = early_stop and isinstance(model, AttackedModel) and model.settles

    def climb(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        bounds = (x - threat.eps).clamp_(min=0), (x + threat.eps).clamp_(max=1)
        batch = _Batch(model, start(x, threat, source).clamp(*bounds), y, *bounds)
        found = _Found(batch.images) if leaves else None
        for number in range(steps):
            gradient, logits = loss_gradient(batch.model, batch.images, batch.y, loss, draws)
            # At powers of two: each look waits for the device, and most of what breaks does so early.
            if found is not None and number & (number - 1) == 0:
                left = found.leave(batch, logits)
                if left is not None:
                    batch, gradient = batch.subset(left), gradient[left]
                if not len(batch.y):
                    break
            batch.images = update(batch.images, gradient, step).clamp(batch.lower, batch.upper)
        return [batch.images if found is None else found.whole(batch)]

    return climb(model, x, y)[0] if restarts == 1 else worst([climb] * restarts, model, x, y, draws, narrow=leaves)


@dataclass
class _Batch:
    """The images that are still attacked, with what belongs to them."""

    model: nn.Module
    images: Tensor
    y: Tensor
    lower: Tensor
    upper: Tensor

    def subset(self, left: Tensor) -> _Batch:
        """Those at the positions `left` [M]."""
        assert isinstance(self.model, AttackedModel)
        images, lower, upper = (
            one[left].contiguous(memory_format=torch.channels_last) for one in (self.images, self.lower, self.upper)
        )
        return _Batch(self.model.subset(left), images, self.y[left], lower, upper)


class _Found:
    """The images that have left, in the places they have in the whole batch."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.places = torch.arange(len(images), device=images.device)

    def leave(self, batch: _Batch, logits: Tensor) -> Tensor | None:
        """Keep the images that are wrong beyond rounding; the positions in `batch` of the others, None where all are."""
        assert isinstance(batch.model, AttackedModel)
        left = still_open(batch.model, logits, batch.y).nonzero().flatten()
        if len(left) == len(batch.y):
            return None
        self.images[self.places] = batch.images
        self.places = self.places[left]
        return left

    def whole(self, batch: _Batch) -> Tensor:
        self.images[self.places] = batch.images
        return self.images
