"""What an attack implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from robuststack.plugin.component import Component
from robuststack.plugin.options import parse
from robuststack.plugin.threat import Threat

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(logits [N, K], targets [N] or [N, K]) -> loss of each sample [N]; attacks climb its sum."""


class Attack(Component):
    """A way to look for adversarial images. What it returns is clipped to the ball and judged by the host."""

    kind = "attack"
    needs_gradients: ClassVar[bool] = True
    """False for an attack that only calls the model."""
    min_classes: ClassVar[int] = 2
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    draws_option: ClassVar[str] = "draws"
    """The option that says how many noise draws it averages over, which a scoring protocol may set."""

    @property
    def label(self) -> str:
        """The column's name in a leaderboard; a suite's `label` replaces it."""
        return self.name

    def figures(self, threat: Threat, stochastic: bool) -> dict[str, Any]:
        """The options as they come out for this threat and this kind of point, as they are printed: eps, step, draws."""
        return {**self.options.resolved(), "eps": threat.eps}

    def with_draws(self, draws: int) -> Self:
        """This attack, averaging over `draws` noise draws; itself where it has no option for them.

        Raises:
            InvalidOptions: the option does not allow so many.
        """
        options = self.options.resolved()
        if self.draws_option not in options:
            return self
        other = type(self)(parse(type(self.options), {**options, self.draws_option: draws}))
        other.name, other.distribution = self.name, self.distribution
        return other

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Refuse images of a shape [C, H, W] that it cannot work on; it is called before any compute.

        Raises:
            ValueError: with what it works on.
        """

    def image_passes(self, stochastic: bool) -> float:
        """Work per image, in forward passes (a gradient with respect to the input counts 1 more)."""
        return 2.0

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, generator: Generator) -> Tensor:
        """Adversarial images [N, C, H, W] for `x`.

        `model` maps images to float32 logits, is in eval mode with frozen parameters, and says by its attribute
        `stochastic` whether forward passes differ. `generator` (on the images' device) serves the random start; random
        numbers drawn otherwise are reproducible too, since the host seeds the default generators around the call.
        """
        raise NotImplementedError


class GradientAttack(Attack):
    """An attack that climbs a loss: verbs for the host's one loop, `engine.attack.ascend`.

    A subclass gives `steps`, and may replace `start`, `loss` and `update`. Only such attacks can train.
    """

    @property
    def steps(self) -> int:
        raise NotImplementedError

    @property
    def restarts(self) -> int:
        return 1

    @property
    def early_stop(self) -> bool:
        """Whether, when a deterministic model is evaluated, an image that it gets wrong leaves the batch as it is. Never in
        training. It is for attacks whose `update` looks at each image alone and keeps nothing from step to step."""
        return False

    def draws(self, stochastic: bool) -> int:
        """Forward passes whose gradients are averaged each step (EOT, expectation over transformation)."""
        return 1

    def step_size(self, threat: Threat) -> float:
        """The step in pixel units."""
        raise NotImplementedError

    def start(self, x: Tensor, threat: Threat, generator: Generator) -> Tensor:
        """The first iterate, before projection; by default uniform in the ball."""
        from robuststack.attacks.starts import uniform_start

        return uniform_start(x, threat, generator)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """What the attack climbs, for each sample [N]; by default the cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits, y, reduction="none")

    def update(self, x: Tensor, gradient: Tensor, step: float) -> Tensor:
        """The next iterate, before projection; by default a step along the gradient's sign."""
        return x + step * gradient.sign()

    def figures(self, threat: Threat, stochastic: bool) -> dict[str, Any]:
        resolved = {"steps": self.steps, "restarts": self.restarts, "draws": self.draws(stochastic)}
        return {**super().figures(threat, stochastic), **resolved, "step": self.step_size(threat)}

    def image_passes(self, stochastic: bool) -> float:
        # Restarts are compared with each other and with the clean image.
        compared = 1 + self.restarts if self.restarts > 1 else 0
        return float((2 * self.steps * self.restarts + compared) * self.draws(stochastic))

    def perturb(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        generator: Generator,
        *,
        loss: Loss | None = None,
        start: Callable[[Tensor, Threat, Generator], Tensor] | None = None,
        early_stop: bool = True,
    ) -> Tensor:
        """The loop with this attack's verbs. A training step may replace `loss` and `start`, and attacks every image to the
        end, whatever the attack's own `early_stop` says."""
        from robuststack.attacks.ascend import ascend

        return ascend(
            model, x, y, threat, generator,
            start=start or self.start, loss=loss or self.loss, update=self.update,
            step=self.step_size(threat), steps=self.steps, restarts=self.restarts,
            draws=self.draws(bool(getattr(model, "stochastic", False))),
            early_stop=self.early_stop and early_stop,
        )  # fmt: skip
