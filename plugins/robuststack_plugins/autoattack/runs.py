"""pyautoattack's attacks as runs.

The library's own `perturb` returns the clean image wherever one noisy forward pass was right at the end or wrong at the
start. On a randomised model that loses images which most draws get right, so a run here is the library's inner
`attack_single_run`, on every image that is left, and images are compared by their margin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from robuststack.attacks.eot import mean_logits
from robuststack.attacks.restarts import Run

Start = Callable[[Tensor], Tensor]
"""Clean images -> the first iterates."""

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())  # Without a handler of its own, the library's warnings go to standard error.
LINF = {"norm": "Linf", "seed": 0}  # A seed of None would be the time; it is not used, the generators are seeded here.


def apgd(loss: str, eps: float, iterations: int, draws: int, rho: float, start: Start | None = None) -> Run:
    """Auto-PGD on `ce` or `dlr`: the iterate of highest loss, and the last one that was misclassified."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()  # The library views its images as rows, which a channels-last layout does not allow.
        attack = APGDAttack(
            model,
            n_iter=iterations,
            eps=eps,
            loss=loss,
            eot_iter=draws,
            rho=rho,
            device=x.device,
            logger=LOGGER,
            **LINF,
        )
        attack.init_hyperparam(x)
        highest, _, _, misclassified = attack.attack_single_run(x, y, x_init=start(x) if start else None)
        return highest, misclassified

    return run


def targeted_apgd(target: int, eps: float, iterations: int, rho: float) -> Run:
    """Auto-PGD on the targeted DLR loss, towards the class of rank `target` among the logits (2 is the runner-up)."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = APGDAttack_targeted(model, n_iter=iterations, eps=eps, rho=rho, device=x.device, logger=LOGGER, **LINF)
        attack.init_hyperparam(x)
        attack.y_target = model(x).argsort(dim=1)[:, -target]
        highest, _, _, misclassified = attack.attack_single_run(x, y)
        return highest, misclassified

    return run


def targeted_fab(target: int, eps: float, iterations: int) -> Run:
    """FAB towards the class of rank `target`: the nearest misclassified image it finds, where that is in the ball."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = FABAttack_PT(model, n_iter=iterations, eps=eps, targeted=True, device=x.device, **LINF)
        attack.target_class = target
        found = attack.attack_single_run(x, y, use_rand_start=False, is_targeted=True)
        near = (found - x).abs().flatten(1).max(1).values <= eps
        return [torch.where(near[:, None, None, None], found, x)]

    return run


class _ToTheEnd(SquareAttack):  # type: ignore[misc]
    """Square Attack that spends all queries on every image. The library is done with an image that it has fooled: at a
    randomised point that is one lucky query."""

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(what has to fall below 0 for an image to be done, the loss that the search lowers): [N] each."""
        loss = super().margin_and_loss(x, y)[1]
        return torch.ones_like(loss), loss


def square(eps: float, queries: int, draws: int, *, to_the_end: bool = False) -> Run:
    """Square Attack with AutoAttack's settings; each query sees the mean logits over `draws` forward passes. A randomised
    point is attacked `to_the_end`, or as the library does it.
    """

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = (_ToTheEnd if to_the_end and getattr(model, "stochastic", False) else SquareAttack)(
            # A new tensor, into which the library may write.
            partial(mean_logits, model, draws=draws),
            p_init=0.8,
            n_queries=queries,
            eps=eps,
            resc_schedule=False,
            device=x.device,
            **LINF,
        )
        attack.init_hyperparam(x)
        return [attack.attack_single_run(x, y)[1]]

    return run
