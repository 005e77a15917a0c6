"""pyautoattack's attacks as runs, and the loop that keeps the worst of what they find.

The library's own `perturb` returns the clean image wherever one noisy forward pass was right at the end or wrong at the
start. On a randomised model that loses images which most draws get right, so a run here is the library's inner
`attack_single_run`, on every image that is left, and images are compared by their margin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from robuststack.engine.attack import mean_margin

Run = Callable[[Tensor, Tensor], Iterable[Tensor]]
"""(images, labels) -> candidates, each a batch of adversarial images of that shape."""

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())  # Without a handler of its own, the library's warnings go to standard error.
LINF = {"norm": "Linf", "seed": 0}  # A seed of None would be the time; it is not used, the generators are seeded here.


@torch.no_grad()
def worst(runs: Sequence[Run], model: nn.Module, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Of itself and all that the runs find, each image keeps what has the largest margin over `draws` forward passes.

    The first run attacks every image. Of a deterministic model the later ones take only those that nothing has fooled yet,
    as the library does; of a randomised one they take all, since one success says little.
    """
    stochastic = bool(getattr(model, "stochastic", False))
    x = x.contiguous()  # The library views its images as rows, which a channels-last layout does not allow.
    kept, hurt = x.clone(), mean_margin(model, x, y, draws)
    for number, run in enumerate(runs):
        left = torch.ones_like(y, dtype=torch.bool) if stochastic or number == 0 else hurt <= 0
        if not left.any():
            break
        for found in run(x[left], y[left]):
            # Gradients that are no numbers make images that are none.
            usable = torch.isfinite(found).flatten(1).all(1)
            margin = torch.where(usable, mean_margin(model, found, y[left], draws), -torch.inf)
            better = margin > hurt[left]
            kept[left] = torch.where(better[:, None, None, None], found, kept[left])
            hurt[left] = torch.maximum(margin, hurt[left])
    return kept


def apgd(model: nn.Module, loss: str, eps: float, iterations: int, draws: int, rho: float) -> Run:
    """Auto-PGD on `ce` or `dlr`: the iterate of highest loss, and the last one that was misclassified."""

    def run(x: Tensor, y: Tensor) -> Iterable[Tensor]:
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
        highest, _, _, misclassified = attack.attack_single_run(x, y)
        return highest, misclassified

    return run


def targeted_apgd(model: nn.Module, target: int, eps: float, iterations: int, rho: float) -> Run:
    """Auto-PGD on the targeted DLR loss, towards the class of rank `target` among the logits (2 is the runner-up)."""

    def run(x: Tensor, y: Tensor) -> Iterable[Tensor]:
        attack = APGDAttack_targeted(model, n_iter=iterations, eps=eps, rho=rho, device=x.device, logger=LOGGER, **LINF)
        attack.init_hyperparam(x)
        attack.y_target = model(x).argsort(dim=1)[:, -target]
        highest, _, _, misclassified = attack.attack_single_run(x, y)
        return highest, misclassified

    return run


def targeted_fab(model: nn.Module, target: int, eps: float, iterations: int) -> Run:
    """FAB towards the class of rank `target`: the nearest misclassified image it finds, where that is in the ball."""

    def run(x: Tensor, y: Tensor) -> Iterable[Tensor]:
        attack = FABAttack_PT(model, n_iter=iterations, eps=eps, targeted=True, device=x.device, **LINF)
        attack.target_class = target
        found = attack.attack_single_run(x, y, use_rand_start=False, is_targeted=True)
        near = (found - x).abs().flatten(1).max(1).values <= eps
        return [torch.where(near[:, None, None, None], found, x)]

    return run


def square(model: nn.Module, eps: float, queries: int, draws: int) -> Run:
    """Square Attack with AutoAttack's settings; each query sees the mean logits over `draws` forward passes."""

    def mean_logits(x: Tensor) -> Tensor:
        # A new tensor, into which the library may write.
        return torch.stack([model(x) for _ in range(draws)]).mean(0)

    def run(x: Tensor, y: Tensor) -> Iterable[Tensor]:
        attack = SquareAttack(
            mean_logits, p_init=0.8, n_queries=queries, eps=eps, resc_schedule=False, device=x.device, **LINF
        )
        attack.init_hyperparam(x)
        return [attack.attack_single_run(x, y)[1]]

    return run
