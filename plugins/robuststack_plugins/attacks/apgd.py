"""Auto-PGD, and AutoAttack's version for randomised models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import robuststack as rs
from robuststack.attacks import Average
from robuststack_plugins.attacks.apgd_variants import OnBoth, OnCrossEntropy, OnDLR
from robuststack_plugins.attacks.averaging import average_option

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel, Start

CROCE = "Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Attacks, ICML 2020"
RHO = "The step is halved where at most this share of the steps since the last check raised the loss."


class APGDOptions(rs.Options):
    """What runs of Auto-PGD can be told, here and in pyautoattack."""

    iterations: int = rs.option(100, "Gradient steps of a run.", ge=1, smoke=2)
    restarts: int = rs.option(1, "Runs from random starts, for each loss.", ge=1, smoke=1)
    draws: rs.Draws = rs.option(
        20,
        "EOT: forward passes whose gradients are averaged, on randomised points; others use one; or `auto`.",
        smoke=2,
    )
    rho: float = rs.option(0.75, RHO, gt=0, le=1)


class APGD(rs.Attack):
    """Auto-PGD: the step, 2 eps at first, is halved where the loss stalls."""

    paper = CROCE
    norms = ("linf", "l2")
    losses: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    budget: ClassVar[tuple[str, ...]]

    class Options(APGDOptions):
        average: Average = average_option()
        early_stop: bool = rs.option(
            True,
            "On deterministic points, an image that the model gets wrong is kept and attacked no further; with false every"
            " image takes all steps of a run.",
        )

    @property
    def label(self) -> str:
        return self.titled(self.title, *self.budget)

    def start(self, x: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        """The first iterate of a run, before projection, on the surface of the norm's ball."""
        from robuststack.attacks import surface_start

        return surface_start(x, threat, generator)

    def figures(self, threat: rs.Threat, stochastic: bool) -> dict[str, Any]:
        return {**super().figures(threat, stochastic), "step": 2 * threat.eps}

    def image_passes(self, stochastic: bool) -> float:
        draws, runs = self.draws(stochastic), self.options.restarts * len(self.losses)
        # The last iterate needs no gradient. What a run found is compared with the clean image; on a randomised point a run
        # finds two images.
        candidates = 2 if stochastic else 1
        probabilities = self.average == "probabilities" and draws > 1
        passes, last = (3, draws) if probabilities else (2, 1)
        return float(draws + runs * (passes * self.options.iterations * draws + last + candidates * draws))

    def perturb(
        self,
        model: AttackedModel,
        x: Tensor,
        y: Tensor,
        threat: rs.Threat,
        generator: Generator,
        *,
        start: Start | None = None,
    ) -> Tensor:
        """The worst of the runs for each image; `start` replaces this attack's own."""
        from robuststack.attacks import worst
        from robuststack_plugins.attacks.auto_pgd import LOSSES, auto_pgd

        first = start or self.start
        draws = self.draws(model.stochastic)
        runs = [
            auto_pgd(
                LOSSES[loss], threat, lambda images: first(images, threat, generator),
                iterations=self.options.iterations, draws=draws, rho=self.options.rho, early_stop=self.early_stop,
                average=self.average,
            )
            for loss in self.losses
            for _ in range(self.options.restarts)
        ]  # fmt: skip
        return worst(runs, model, x, y, draws)


class APGDCE(OnCrossEntropy, APGD):
    """Auto-PGD on the cross-entropy, as in AutoAttack."""


class APGDDLR(OnDLR, APGD):
    """Auto-PGD on the difference of logits ratio, as in AutoAttack."""


class AutoAttackRand(OnBoth, APGD):
    """AutoAttack for randomised models: APGD-CE, then APGD-DLR, with gradients averaged over draws.

    On a randomised point both attack every image, and the host judges on fresh draws. pyautoattack's own evaluation leaves
    an image clean if a single draw called it robust, or wrong from the start: judged afresh, that is a weaker attack.
    """
