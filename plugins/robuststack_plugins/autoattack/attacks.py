"""AutoAttack and its parts, as pyautoattack has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import robuststack as rs
from robuststack_plugins.attacks.apgd import CROCE, RHO, APGDOptions
from robuststack_plugins.attacks.apgd_variants import OnBoth, OnCrossEntropy, OnDLR

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel, Run, Start
    from robuststack_plugins.autoattack.runs import FirstIterates


class Official(rs.Attack):
    """Runs of pyautoattack, of which each image keeps the worst."""

    paper = CROCE
    norms = ("linf", "l2")

    @property
    def fingerprint(self) -> str:
        """The library's version: what its attacks find is its own, and may change."""
        from importlib.metadata import version

        return f"pyautoattack {version('pyautoattack')}"

    @property
    def early_stop(self) -> bool:
        """Later runs take only the images that no earlier one has fooled."""
        return True

    def runs(self, threat: rs.Threat, draws: int, classes: int, start: FirstIterates | None) -> Sequence[Run]:
        """What is run, in this order; `start` replaces the library's random starts."""
        raise NotImplementedError

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
        """The worst of the runs for each image; `start` replaces the random starts of Auto-PGD."""
        import torch

        from robuststack.attacks import seeded_from, worst

        draws = self.draws(model.stochastic)
        first = None if start is None else lambda images: start(images, threat, generator)
        with torch.no_grad(), seeded_from(generator):
            classes = model(x[:1]).shape[1]
            return worst(self.runs(threat, draws, classes, first), model, x, y, draws)


class APGD(Official):
    """Auto-PGD: the step, 2 eps at first, is halved where the loss stalls."""

    losses: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    budget: ClassVar[tuple[str, ...]]

    Options = APGDOptions

    @property
    def label(self) -> str:
        return self.titled(f"{self.title} (pyautoattack)", *self.budget)

    def runs(self, threat: rs.Threat, draws: int, classes: int, start: FirstIterates | None) -> Sequence[Run]:
        from robuststack_plugins.autoattack.runs import apgd

        options = self.options
        return [
            apgd(loss, threat, options.iterations, draws, options.rho, start)
            for loss in self.losses
            for _ in range(options.restarts)
        ]

    def figures(self, threat: rs.Threat, stochastic: bool) -> dict[str, Any]:
        return {**super().figures(threat, stochastic), "step": 2 * threat.eps}

    def image_passes(self, stochastic: bool) -> float:
        # The start has a gradient too, and the two candidates of a run are compared, with each other and the clean image.
        run = 2 * (self.options.iterations + 1) + 2
        return float(self.draws(stochastic) * (1 + run * self.options.restarts * len(self.losses)))


class APGDCE(OnCrossEntropy, APGD):
    """pyautoattack's Auto-PGD on the cross-entropy."""


class APGDDLR(OnDLR, APGD):
    """pyautoattack's Auto-PGD on the difference of logits ratio."""


class AutoAttackRand(OnBoth, APGD):
    """pyautoattack's APGD-CE, then its APGD-DLR, with gradients averaged over draws, for randomised models.

    Both attack every image, and the host judges on fresh draws, as for `autoattack_rand`.
    """


class Square(Official):
    """Square Attack, a random search that only calls the model, with AutoAttack's settings.

    On a randomised point it spends all queries on every image: the library's own stops at the first that fools it.
    """

    revision = 2  # The first stopped there too.
    paper = "Andriushchenko et al., Square Attack: a Query-efficient Black-box Adversarial Attack, ECCV 2020"
    needs_gradients = False

    class Options(rs.Options):
        queries: int = rs.option(5000, "Queries of a run.", ge=1, smoke=2)
        restarts: int = rs.option(1, "Runs from random starts.", ge=1, smoke=1)
        draws: rs.Draws = rs.option(
            20,
            "EOT: forward passes whose logits are averaged in each query, on randomised points; others use one; or `auto`.",
            smoke=2,
        )

    @property
    def label(self) -> str:
        return self.titled("Square", "queries", "restarts")

    def runs(self, threat: rs.Threat, draws: int, classes: int, start: FirstIterates | None) -> Sequence[Run]:
        from robuststack_plugins.autoattack.runs import square

        return [square(threat, self.options.queries, draws, to_the_end=True)] * int(self.options.restarts)

    def image_passes(self, stochastic: bool) -> float:
        # One for the start of a run, one to compare what was found, and one for the clean image.
        return float(self.draws(stochastic) * (1 + (self.options.queries + 2) * self.options.restarts))


class AutoAttackStandard(Official):
    """AutoAttack for deterministic models: APGD-CE, targeted APGD-DLR, targeted FAB and Square.

    It averages over no draws, so on a randomised point it is the weaker attack: use autoattack_rand there.
    """

    min_classes = 4  # The targeted ratio's denominator has the fourth largest logit.

    class Options(rs.Options):
        iterations: int = rs.option(100, "Gradient steps of a run of APGD or FAB.", ge=1, smoke=2)
        queries: int = rs.option(5000, "Queries of Square.", ge=1, smoke=2)
        targets: int = rs.option(9, "Wrong classes that are targeted, the likeliest first; at most all.", ge=1, smoke=2)
        rho: float = rs.option(0.75, RHO, gt=0, le=1)

    @property
    def label(self) -> str:
        return self.titled("AutoAttack", "iterations", "queries", "targets")

    def runs(self, threat: rs.Threat, draws: int, classes: int, start: FirstIterates | None) -> Sequence[Run]:
        from robuststack_plugins.autoattack.runs import apgd, square, targeted_apgd, targeted_fab

        options = self.options
        ranks = range(2, min(options.targets, classes - 1) + 2)
        return [
            apgd("ce", threat, options.iterations, draws, options.rho, start),
            *(targeted_apgd(rank, threat, options.iterations, options.rho) for rank in ranks),
            *(targeted_fab(rank, threat, options.iterations) for rank in ranks),
            square(threat, options.queries, draws),
        ]

    def figures(self, threat: rs.Threat, stochastic: bool) -> dict[str, Any]:
        return {**super().figures(threat, stochastic), "step": 2 * threat.eps}

    def image_passes(self, stochastic: bool) -> float:
        """For an image that nothing fools; others stop early."""
        gradient_runs = 1 + 2 * self.options.targets
        return float(2 * (self.options.iterations + 2) * gradient_runs + self.options.queries + 3)
