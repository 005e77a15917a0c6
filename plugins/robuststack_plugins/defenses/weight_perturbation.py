"""AWP: training at weights that were moved to raise the loss (Wu et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

import robuststack as rs

if TYPE_CHECKING:
    from torch import Tensor, nn

TINY = 1e-20
"""Added to the length of a gradient that is divided by it."""
PASSES = 3.0
"""What the step of the weights costs: a forward pass and a backward one to the weights."""


class PerturbedOptions(rs.Options):
    """Options of a defense that can train with AWP. Without it they are those of a defense that does not know it."""

    awp: float = rs.option(
        0.0,
        "Adversarial weight perturbation (Wu et al. 2020): gamma, the length of the weights' step relative to each weight"
        " tensor's norm; 0.005 is usual, 0 is off.",
        ge=0,
        le=0.1,
        shown=True,
    )

    @model_serializer(mode="wrap")
    def _leave_out_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if value or key != "awp"}


@contextmanager
def perturbed_weights(model: nn.Module, gamma: float, loss: Callable[[], Tensor]) -> Iterator[None]:
    """For as long, every weight tensor of two dimensions and more has moved by gamma ||w|| along its gradient of `loss()`,
    a scalar; at gamma 0 nothing happens.

    Weights that a mask hides stay at zero, and count in no norm, nor do those of channels that a width leaves out. The
    forward pass of `loss` leaves running statistics as they were. Gradients that are gathered meanwhile are those at the
    moved weights; the optimiser then steps from the weights themselves (the reference code lets it step first, which
    differs in the weight decay of the small step alone).
    """
    import torch

    from robuststack.layers.slimmable import SlimConv2d, SlimLinear
    from robuststack.layers.sparse import MASK, masked_layers

    if gamma == 0:
        yield
        return
    weights = [weight for weight in model.parameters() if weight.dim() > 1 and weight.requires_grad]
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    before = [weight.detach().clone() for weight in weights]
    slim = {id(layer.weight) for layer in model.modules() if isinstance(layer, SlimConv2d | SlimLinear)}
    masks = {id(layer.weight): layer.get_buffer(MASK) for _, layer in masked_layers(model)}
    with torch.no_grad():
        for buffer, value in statistics:
            buffer.copy_(value)
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                alive = gradient * masks[id(weight)] if id(weight) in masks else gradient
                # What does not run has no gradient.
                running = weight * (alive != 0) if id(weight) in slim else weight
                weight.addcmul_(alive, gamma * running.norm() / (alive.norm() + TINY))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
