"""Expectation over transformation (EOT): gradients and logits averaged over noise draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.margins import judged_margin
from robuststack.layers.generators import GeneratorState
from robuststack.plugin.attack import Average, Loss

Passes = Sequence[tuple[AttackedModel, float]]
"""The forward passes of a step, each with its weight."""


def loss_gradient(
    model: AttackedModel, images: Tensor, y: Tensor, loss: Loss, draws: int, average: Average = "loss"
) -> tuple[Tensor, Tensor]:
    """The gradient [N, C, H, W] of the loss over `draws` forward passes, times the draws, and logits [N, K].

    With `average` `loss` it is that of the mean loss, and the logits are the last draw's; of a mixture, the mean is
    weighted and the logits are those of the weighted mean probabilities. With `probabilities` it is that of the loss of the
    mean probabilities, given to the loss as their logarithms [N, K], and those are the logits. One pass is both.
    """
    passes = model.passes(draws)
    if average == "probabilities" and len(passes) > 1:
        return _probability_gradient(model, images, y, loss, passes)
    return _mean_loss_gradient(model, images, y, loss, passes)


def _mean_loss_gradient(
    model: AttackedModel, images: Tensor, y: Tensor, loss: Loss, passes: Passes
) -> tuple[Tensor, Tensor]:
    total: Tensor | None = None
    raw: Tensor | None = None
    seen: list[Tensor] = []
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        for part, weight in passes:
            logits, climbed = part.surrogate(point)
            if climbed is logits:
                # The sum, so that each sample's gradient does not depend on how many others are in the batch.
                (gradient,) = torch.autograd.grad(loss(logits, y).sum(), point)
            else:
                (gradient,) = torch.autograd.grad(climbed, point, _surrogate_slope(climbed, logits, y, loss))
            gradient = gradient if weight == 1 else weight * gradient
            seen.append(logits.detach())
            raw = gradient if raw is None else raw + gradient
            if model.tally is not None:
                # What is no number moves no pixel, and spoils no other draw; it is counted as a failure below.
                gradient = gradient.nan_to_num()
            total = gradient if total is None else total + gradient
    assert total is not None
    assert raw is not None
    logits = model.together(seen, [weight for _, weight in passes])
    if model.tally is not None:
        # A capped loss is flat where the model is fooled already, which is no masking.
        model.tally.watch(raw, logits.argmax(1) == y)
    return total, logits


def _surrogate_slope(climbed: Tensor, logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """dL/dlogits [N, K] at the surrogate's logits. Where that is zero it is taken at the exact ones: a capped margin is
    flat where the surrogate is fooled, and the model may not be."""
    at_surrogate, at_model = _slope(climbed, y, loss), _slope(logits, y, loss)
    return torch.where((at_surrogate == 0).all(1, keepdim=True), at_model, at_surrogate)


def _slope(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    leaf = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf, y).sum(), leaf)[0]


def _probability_gradient(
    model: AttackedModel, images: Tensor, y: Tensor, loss: Loss, passes: Passes
) -> tuple[Tensor, Tensor]:
    """With p the mean of the passes' probabilities p_m, weighted by w_m, and L the loss as a function of log p:
    dL/dx = sum_m sum_k dL/d(log p_k) (w_m p_mk / p_k) d(log p_mk)/dx.

    Each pass runs twice on the same noise, since p has to be known first: so the memory is that of one pass. The second run
    repeats the noise of the default generators of torch, numpy and Python; noise from elsewhere is drawn anew.
    """
    state = GeneratorState.now()
    logits = log_mean_probability(model, images, passes)
    state.restore()
    with torch.enable_grad():
        mean = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(mean, y).sum(), mean)
    # A masked logit is -inf in every pass: its class has no probability, and no slope.
    possible = logits != -torch.inf
    total, raw = torch.zeros_like(images), torch.zeros_like(images)
    weights = sum(weight for _, weight in passes)
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        for part, weight in passes:
            parts = part(point).log_softmax(1)
            # Times the draws, as the sum over them is.
            share = weight * (parts.detach() - logits).exp() / weights
            climbed = torch.where(possible, weights * slope * share, 0.0) * torch.where(possible, parts, 0.0)
            (gradient,) = torch.autograd.grad(climbed.sum(), point)
            raw = raw + gradient
            total = total + (gradient if model.tally is None else gradient.nan_to_num())
    if model.tally is not None:
        model.tally.watch(raw, logits.argmax(1) == y)
    return total, logits


@torch.no_grad()
def log_mean_probability(model: AttackedModel, images: Tensor, passes: Passes) -> Tensor:
    """The logarithm [N, K] of the mean probabilities over passes, as `AttackedModel.passes` gives them, weighted."""
    total = math.log(sum(weight for _, weight in passes))
    mean: Tensor | None = None
    for part, weight in passes:
        parts = part(images).log_softmax(1) + (math.log(weight) - total)
        mean = parts if mean is None else torch.logaddexp(mean, parts)
    assert mean is not None
    return mean


@torch.no_grad()
def mean_logits(model: Callable[[Tensor], Tensor], x: Tensor, draws: int) -> Tensor:
    """The mean [N, K] of the logits over `draws` forward passes."""
    return torch.stack([model(x) for _ in range(draws)]).mean(0)


def mean_margin(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, draws: int) -> Tensor:
    """The margin [N] of the mean logits over `draws` forward passes: what attacks compare an image's candidates by."""
    return judged_margin(mean_logits(model, x, draws), y)
