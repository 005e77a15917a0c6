"""The one attack loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import Ball
from robuststack.attacks.eot import loss_gradient
from robuststack.attacks.margins import still_open
from robuststack.attacks.restarts import worst
from robuststack.attacks.starts import Start
from robuststack.attacks.state import State
from robuststack.plugin.attack import GradientAttack, Loss
from robuststack.plugin.threat import Threat


def ascend(
    attack: GradientAttack,
    model: AttackedModel,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    generator: Generator,
    *,
    start: Start | None = None,
    loss: Loss | None = None,
    early_stop: bool = True,
) -> Tensor:
    """Climb a loss by projected gradient steps, with the verbs of `attack`: x [N, C, H, W] -> adversarial images.

    Each step averages over `attack.draws` forward passes (EOT) what `attack.average` says: the loss, or the probabilities.
    Of several restarts, and of itself, each image keeps what has the largest margin of a wrong class over the right one.
    `start` and `loss` replace the attack's. If neither `early_stop` nor the attack's own is false, an image that a model
    `settles` is kept as it is, and costs nothing more, in this restart and in later ones.
    """
    start, loss = start or attack.start, loss or attack.loss
    draws, step = attack.draws(model.stochastic), attack.step_size(threat)
    leaves = early_stop and attack.early_stop and model.settles

    def climb(model: AttackedModel, x: Tensor, y: Tensor) -> list[Tensor]:
        ball = Ball.of(x, threat)
        batch = _Batch(model, ball, ball.project(start(x, threat, generator)), y, attack.state(x))
        whole = _Whole(batch.images) if leaves else None
        for number in range(attack.steps):
            gradient, logits = loss_gradient(batch.model, batch.images, batch.y, loss, draws, attack.average)
            # At powers of two: each look waits for the device, and most of what breaks does so early.
            if whole is not None and number & (number - 1) == 0:
                left = still_open(batch.model, logits, batch.y).nonzero().flatten()
                if len(left) < len(batch.y):
                    whole.put(batch.images, left)
                    batch, gradient = batch.subset(left), gradient[left]
                if not len(batch.y):
                    break
            batch.images = batch.ball.project(attack.update(batch.images, gradient, step, batch.ball, batch.state))
        return [batch.images if whole is None else whole.with_the_last(batch.images)]

    return (
        climb(model, x, y)[0]
        if attack.restarts == 1
        else worst([climb] * attack.restarts, model, x, y, draws, narrow=leaves)
    )


@dataclass
class _Batch:
    """The images that are still attacked, with what belongs to them."""

    model: AttackedModel
    ball: Ball
    images: Tensor
    y: Tensor
    state: State

    def subset(self, left: Tensor) -> _Batch:
        """Those at the positions `left` [M]."""
        return _Batch(
            self.model.subset(left),
            self.ball.subset(left),
            _images(self.images, left),
            self.y[left],
            self.state.subset(left),
        )


class _Whole:
    """All images of a run, those that have left among them, in the places they have in the whole batch."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.places = torch.arange(len(images), device=images.device)

    def put(self, images: Tensor, left: Tensor) -> None:
        """Keep the attacked images as they are; those at the positions `left` among them go on."""
        self.images[self.places] = images
        self.places = self.places[left]

    def with_the_last(self, images: Tensor) -> Tensor:
        self.images[self.places] = images
        return self.images


def _images(images: Tensor, left: Tensor) -> Tensor:
    return images[left].contiguous(memory_format=torch.channels_last)
