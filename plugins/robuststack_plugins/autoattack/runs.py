"""pyautoattack's attacks as runs.

The library's own `perturb` returns the clean image wherever one noisy forward pass was right at the end or wrong at the
start. On a randomised model that loses images which most draws get right, so a run here is the library's inner
`attack_single_run`, on every image that is left, and images are compared by their margin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from robuststack.attacks import AttackedModel, Ball, Run, mean_logits
from robuststack.plugin.threat import Norm, Threat

FirstIterates = Callable[[Tensor], Tensor]
"""Clean images -> the first iterates."""

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())  # Without a handler of its own, the library's warnings go to standard error.
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


def _common(threat: Threat, x: Tensor) -> dict[str, Any]:
    """What each of the library's attacks is told."""
    # A seed of None would be the time; it is not used, the generators are seeded here.
    return {"norm": NORMS[threat.norm], "eps": threat.eps, "seed": 0, "device": x.device}


def apgd(loss: str, threat: Threat, iterations: int, draws: int, rho: float, start: FirstIterates | None = None) -> Run:
    """Auto-PGD on `ce` or `dlr`: the iterate of highest loss, and the last one that was misclassified."""

    def run(model: AttackedModel, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()  # The library views its images as rows, which a channels-last layout does not allow.
        attack = APGDAttack(
            model,
            n_iter=iterations,
            loss=loss,
            eot_iter=draws,
            rho=rho,
            logger=LOGGER,
            **_common(threat, x),
        )
        attack.init_hyperparam(x)
        highest, _, _, misclassified = attack.attack_single_run(x, y, x_init=start(x) if start else None)
        return highest, misclassified

    return run


def targeted_apgd(target: int, threat: Threat, iterations: int, rho: float) -> Run:
    """Auto-PGD on the targeted DLR loss, towards the class of rank `target` among the logits (2 is the runner-up)."""

    def run(model: AttackedModel, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = APGDAttack_targeted(model, n_iter=iterations, rho=rho, logger=LOGGER, **_common(threat, x))
        attack.init_hyperparam(x)
        attack.y_target = model(x).argsort(dim=1)[:, -target]
        highest, _, _, misclassified = attack.attack_single_run(x, y)
        return highest, misclassified

    return run


def targeted_fab(target: int, threat: Threat, iterations: int) -> Run:
    """FAB towards the class of rank `target`: the nearest misclassified image it finds, where that is in the ball."""

    def run(model: AttackedModel, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = FABAttack_PT(model, n_iter=iterations, targeted=True, **_common(threat, x))
        attack.target_class = target
        nearest = attack.attack_single_run(x, y, use_rand_start=False, is_targeted=True)
        near = Ball.of(x, threat).length(nearest - x) <= threat.eps
        return [torch.where(near[:, None, None, None], nearest, x)]

    return run


class _ToTheEnd(SquareAttack):  # type: ignore[misc]
    """Square Attack that spends all queries on every image. The library is done with an image that it has fooled: at a
    randomised point that is one lucky query."""

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(what has to fall below 0 for an image to be done, the loss that the search lowers): [N] each."""
        loss = super().margin_and_loss(x, y)[1]
        return torch.ones_like(loss), loss


def square(threat: Threat, queries: int, draws: int, *, to_the_end: bool = False) -> Run:
    """Square Attack with AutoAttack's settings; each query sees the mean logits over `draws` forward passes. A randomised
    point is attacked `to_the_end`, or as the library does it.
    """

    def run(model: AttackedModel, x: Tensor, y: Tensor) -> Iterable[Tensor]:
        x = x.contiguous()
        attack = (_ToTheEnd if to_the_end and model.stochastic else SquareAttack)(
            # A new tensor, into which the library may write.
            partial(mean_logits, model, draws=draws),
            p_init=0.8,
            n_queries=queries,
            resc_schedule=False,
            **_common(threat, x),
        )
        attack.init_hyperparam(x)
        return [attack.attack_single_run(x, y)[1]]

    return run
