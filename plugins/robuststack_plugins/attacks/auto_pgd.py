"""The loop of Auto-PGD: gradient steps with momentum, shorter wherever the loss stalls (Croce and Hein, ICML 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from robuststack.attacks import (
    AttackedModel,
    Average,
    Ball,
    Loss,
    Run,
    cross_entropy,
    dlr,
    judged_margin,
    log_mean_probability,
    loss_gradient,
    still_open,
)
from robuststack.plugin.threat import Threat

FIRST_STEP = 2.0
"""In radii."""
MOMENTUM = 0.75
"""The share of a step that is the gradient's; the rest repeats the step before."""
FIRST, DECREASE, LEAST = 0.22, 0.03, 0.06
"""Shares of the iterations: before the first check of the step, how many fewer before each later one, and the fewest."""

Start = Callable[[Tensor], Tensor]
"""Clean images -> the first iterates, before projection."""


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr}


def windows(iterations: int) -> dict[int, int]:
    """The iterations, counted from 1, after which the step is checked -> how many have passed since the last check."""
    length, least, decrease = (max(int(share * iterations), 1) for share in (FIRST, LEAST, DECREASE))
    checks, number = {}, length
    while number <= iterations:
        checks[number] = length
        length = max(length - decrease, least)
        number += length
    return checks


def auto_pgd(
    loss: Loss,
    threat: Threat,
    start: Start,
    *,
    iterations: int,
    draws: int,
    rho: float,
    early_stop: bool,
    average: Average = "loss",
) -> Run:
    """A run of Auto-PGD that averages the loss of each gradient, or the probabilities, over `draws` forward passes.

    Of a deterministic model it finds for each image the iterate of largest margin. Of a randomised one it finds the iterate
    of highest loss and the last that was misclassified, each by a single draw, as pyautoattack does, or by the mean
    probabilities of all draws if those are averaged: which of the two is worse takes more draws to tell. With `early_stop`
    an image that a model `settles` is attacked no further.
    """
    checks = windows(iterations)

    @torch.no_grad()
    def run(model: AttackedModel, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        leaves = early_stop and model.settles
        climb = _Climb.begin(model, y, Ball.of(x, threat), start(x), threat.eps)
        worst, places = climb.worst, torch.arange(len(y), device=y.device)
        for number in range(iterations + 1):
            if number:
                climb.step(1.0 if number == 1 else MOMENTUM)
            # Nothing follows the last iterate, so it needs no gradient.
            climb.look(loss, draws, average, last=number == iterations)
            if number == 0:
                # As in pyautoattack, the first step counts as a rise if its loss is above 0, not above the start's.
                climb.previous.zero_()
            if number in checks:
                climb.check(rho * checks[number])
            # At powers of two: each look waits for the device, and most of what breaks does so early.
            if leaves and (number in checks or number & (number - 1) == 0):
                left = climb.open.nonzero().flatten()
                if len(left) == len(climb.y):
                    continue
                worst = worst.index_copy(0, places, climb.worst)
                climb, places = climb.subset(left), places[left]
                if not len(left):
                    break
        worst = worst.index_copy(0, places, climb.worst) if len(places) < len(y) else climb.worst
        return [climb.best, worst] if model.stochastic else [worst]

    return run


@dataclass
class _Climb:
    """Where the attack of a batch stands: images [N, C, H, W] and, for each of them, what steers its next steps.

    All of it stays on the device; images are replaced in place where a mask says so.
    """

    model: AttackedModel
    y: Tensor
    ball: Ball
    now: Tensor
    """The iterate."""
    before: Tensor
    """The iterate a step ago."""
    gradient: Tensor
    """At the iterate, summed over the draws: only its direction is used."""
    length: Tensor
    """Of the next step [N, 1, 1, 1]."""
    best: Tensor
    """The iterate of highest loss."""
    best_gradient: Tensor
    best_loss: Tensor
    worst: Tensor
    """The iterate of largest margin, of a randomised model the last that was misclassified."""
    worst_margin: Tensor
    """The margin of `worst` [N]."""
    open: Tensor
    """Whether no iterate was wrong beyond rounding, bool [N]."""
    previous: Tensor
    """The loss a step ago [N]."""
    rises: Tensor
    """How many steps since the last check have raised the loss [N]."""
    halved: Tensor
    """Whether the last check halved the step, bool [N]; before the first one yes, so that it looks at the rises only."""
    checked_loss: Tensor
    """The highest loss at the last check [N]."""

    @classmethod
    def begin(cls, model: AttackedModel, y: Tensor, ball: Ball, start: Tensor, eps: float) -> _Climb:
        now = ball.project(start)
        lowest = now.new_full((len(y),), -torch.inf)
        yes = torch.ones_like(y, dtype=torch.bool)
        return cls(
            model, y, ball,
            now=now, before=now, gradient=torch.zeros_like(now), length=now.new_full((len(y), 1, 1, 1), FIRST_STEP * eps),
            best=now.clone(), best_gradient=torch.zeros_like(now), best_loss=lowest,
            worst=now.clone(), worst_margin=lowest.clone(), open=yes,
            previous=-lowest, rises=torch.zeros_like(lowest), halved=yes, checked_loss=lowest.clone(),
        )  # fmt: skip

    def step(self, momentum: float) -> None:
        """Along the steepest direction, projected, and then partly along the step before, projected again."""
        step = self.ball.project(torch.addcmul(self.now, self.length, self.ball.steepest(self.gradient)))
        if momentum < 1:
            step.sub_(self.now).mul_(momentum).add_(self.now).add_(self.now - self.before, alpha=1 - momentum)
            step = self.ball.project(step)
        self.before, self.now = self.now, step

    def look(self, loss: Loss, draws: int, average: Average, *, last: bool) -> None:
        """The loss and, but for the `last` iterate, the gradient, and what the iterate is worth keeping for."""
        if not last:
            self.gradient, logits = loss_gradient(self.model, self.now, self.y, loss, draws, average)
        elif average == "probabilities" and draws > 1:
            logits = log_mean_probability(self.model, self.now, self.model.passes(draws))
        else:
            logits = self.model(self.now)
        risen, margins = loss(logits, self.y), judged_margin(logits, self.y)
        self.rises += risen > self.previous
        self.previous = risen
        # A loss that is no number is above nothing.
        better = risen > self.best_loss
        self.best_loss = torch.where(better, risen, self.best_loss)
        worse = margins > (0 if self.model.stochastic else self.worst_margin)
        self.worst_margin = torch.where(worse, margins, self.worst_margin)
        self.open = self.open & still_open(self.model, logits, self.y)
        for mask, new, kept in (
            (better, self.now, self.best),
            (better, self.gradient, self.best_gradient),
            (worse, self.now, self.worst),
        ):
            torch.where(mask[:, None, None, None], new, kept, out=kept)

    def check(self, enough: float) -> None:
        """Halve the step, and go back to the best iterate, where too few steps raised the loss, or none raised the highest
        one since a check that did not halve it."""
        stalled = (self.rises <= enough) | (~self.halved & (self.checked_loss >= self.best_loss))
        self.halved, self.checked_loss = stalled, self.best_loss
        self.rises = torch.zeros_like(self.rises)
        mask = stalled[:, None, None, None]
        self.length = torch.where(mask, self.length / 2, self.length)
        # The iterate a step ago stays: the next step's momentum leads from it to the best one.
        self.now = torch.where(mask, self.best, self.now)
        self.gradient = torch.where(mask, self.best_gradient, self.gradient)

    def subset(self, left: Tensor) -> _Climb:
        """The images at the positions `left` [M]."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = {name: value[left] for name, value in held.items() if isinstance(value, Tensor)}
        return replace(self, model=self.model.subset(left), ball=self.ball.subset(left), **rows)
