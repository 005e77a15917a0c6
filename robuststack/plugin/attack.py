"""What an attack implements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from robuststack.errors import PluginError
from robuststack.plugin.component import Component
from robuststack.plugin.options import AUTO, parse
from robuststack.plugin.threat import Norm, Threat

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks.attacked_model import AttackedModel
    from robuststack.attacks.ball import Ball
    from robuststack.attacks.starts import Start
    from robuststack.attacks.state import State


Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(logits [N, K], targets [N] or [N, K]) -> loss of each sample [N]; attacks climb its sum."""
Average = Literal["loss", "probabilities"]
"""What an attack averages over noise draws: the loss of each, or the probabilities, whose loss it then climbs."""


class Attack(Component):
    """A way to look for adversarial images. What it returns is clipped to the ball and judged by the host.

    Three options have a fixed meaning in every attack that has them: `draws`, `average` and `early_stop`; what they mean is
    said below, under these names.
    """

    kind = "attack"
    needs_gradients: ClassVar[bool] = True
    """False for an attack that only calls the model."""
    training_only: ClassVar[bool] = False
    """True for an attack that serves training alone, because its images may leave the ball or because it makes none of its
    own: among a suite's `attacks` it is refused."""
    natural: ClassVar[bool] = False
    """True for what happens to images without an attacker, such as noise or blur. It knows no ball, and is clipped to
    [0, 1] alone; a row keeps its accuracy under `shift`, and no robust accuracy counts it."""
    min_classes: ClassVar[int] = 2
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    """The norms that it knows; a suite with another is refused before any compute."""
    draws_option: ClassVar[str] = "draws"
    """The option that says how many noise draws it averages over, which a scoring protocol may set. Of type
    `robuststack.Draws` it may be `auto`: a run then chooses the number for each randomised point."""

    @property
    def label(self) -> str:
        """The column's name in a leaderboard; a suite's `label` replaces it."""
        return self.name

    def titled(self, title: str, *budget: str) -> str:
        """A label from a well-known name and, of the options named in `budget`, those that are not at their defaults: no
        column is called `AutoAttack-rand` that spent less than AutoAttack does."""
        fields = type(self.options).model_fields
        values = {name: getattr(self.options, name) for name in budget}
        other = [f"{name}={value}" for name, value in values.items() if value != fields[name].default]
        return " ".join([title, *other])

    def label_for(self, norms: Sequence[Norm]) -> str:
        """The label in a suite whose threat models have these norms; for an attack whose name depends on the norm."""
        return self.label

    @property
    def early_stop(self) -> bool:
        """Whether it attacks an image no further once a model that `settles` gets it wrong: its option `early_stop`, or
        False. Training attacks never do."""
        return bool(getattr(self.options, "early_stop", False))

    @property
    def average(self) -> Average:
        """What it averages over draws, its option `average`: the `loss`, by default, or the `probabilities`. Both are EOT,
        and neither is always the stronger. With one draw they are the same."""
        average: Average = getattr(self.options, "average", "loss")
        return average

    @property
    def chooses_draws(self) -> bool:
        """Whether a run is to choose how many draws it averages over on randomised points: `draws: auto`."""
        return bool(getattr(self.options, self.draws_option, 1) == AUTO)

    def draws(self, stochastic: bool) -> int:
        """Forward passes whose gradients or logits are averaged (EOT, expectation over transformation): on a randomised
        model what the option `draws_option` says, if there is one; otherwise 1.

        Raises:
            PluginError: the option is `auto`, and no run has chosen a number.
        """
        if stochastic and self.chooses_draws:
            raise PluginError(
                f"attack {self.name!r}: {self.draws_option}: auto is a choice that a run of a suite makes; here, give a"
                " number, or call with_draws(NUMBER)"
            )
        return int(getattr(self.options, self.draws_option, 1)) if stochastic else 1

    def check_threat(self, threat: Threat) -> None:
        """Refuse a threat model that `norms` allows but the options do not.

        Raises:
            ValueError: with what would be valid.
        """

    def figures(self, threat: Threat, stochastic: bool) -> dict[str, Any]:
        """The options as they come out for this threat and this kind of point, as they are printed: eps, step, draws."""
        draws = AUTO if stochastic and self.chooses_draws else self.draws(stochastic)
        return {**self.options.resolved(), "draws": draws, "eps": threat.eps}

    def with_draws(self, draws: int) -> Self:
        """This attack, averaging over `draws` noise draws; itself if it has no option for them.

        Raises:
            InvalidOptions: the option does not allow so many.
        """
        return self._with(self.draws_option, draws)

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Refuse images of a shape [C, H, W] that it cannot work on; it is called before any compute.

        Raises:
            ValueError: with what it works on.
        """

    def image_passes(self, stochastic: bool) -> float:
        """Work per image, in forward passes (a gradient with respect to the input counts 1 more)."""
        return 2.0

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor, threat: Threat, generator: Generator) -> Tensor:
        """Adversarial images [N, C, H, W] for the clean images `x`, float32 in [0, 1], with labels `y` [N].

        `generator` (on the images' device) serves the random start. Random numbers drawn otherwise are reproducible too,
        since the host seeds the default generators around the call. What the attack keeps from step to step lives in this
        call: the same instance attacks other batches.
        """
        raise NotImplementedError

    def _with(self, option: str, value: Any) -> Self:
        options = self.options.resolved()
        if option not in options:
            return self
        other = type(self)(parse(type(self.options), {**options, option: value}))
        other.name, other.distribution = self.name, self.distribution
        return other


class GradientAttack(Attack):
    """An attack that climbs a loss: verbs for the host's one loop, `robuststack.attacks.ascend`.

    A subclass gives `steps` and `step_size`, and may replace `start`, `loss`, `state` and `update`. Only such attacks can
    train. An attack with an early stop looks, in `update`, at each image alone.
    """

    norms = ("linf", "l2")
    own_start: ClassVar[bool] = False
    """True if the start is what makes the attack: a training step that asks for another one gets this one."""

    @property
    def steps(self) -> int:
        raise NotImplementedError

    @property
    def restarts(self) -> int:
        return 1

    @property
    def replays(self) -> int:
        """How often training repeats each batch. Above 1 this is free adversarial training (Shafahi et al. 2019): the host
        does not call `perturb`, and moves the images after each repetition by `step_size` along the gradient that the
        backward pass of training gives them."""
        return 1

    def step_size(self, threat: Threat) -> float:
        """The step, in the threat's norm and in units of the [0, 1] pixel range."""
        raise NotImplementedError

    def start(self, x: Tensor, threat: Threat, generator: Generator) -> Tensor:
        """The first iterate, before projection; by default uniform in the ball. A defense's training step may replace it:
        what the attack keeps from step to step belongs into `state`."""
        from robuststack.attacks.starts import uniform_start

        return uniform_start(x, threat, generator)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """What the attack climbs, for each sample [N]; by default the cross-entropy. A training step may replace it."""
        from robuststack.attacks.losses import cross_entropy

        return cross_entropy(logits, y)

    def state(self, x: Tensor) -> State:
        """What `update` keeps from step to step, made anew for each run (each call, and each restart) on its clean images
        `x` [N, C, H, W]; by default nothing."""
        from robuststack.attacks.state import State

        return State()

    def update(self, iterate: Tensor, gradient: Tensor, step: float, ball: Ball, state: State) -> Tensor:
        """The next iterate [N, C, H, W], before projection; by default a step along the ball's steepest direction.

        `gradient` is the sum over the draws. `state` is the one that `state` made: assign to its names.
        """
        return iterate + step * ball.steepest(gradient)

    def figures(self, threat: Threat, stochastic: bool) -> dict[str, Any]:
        resolved = {"steps": self.steps, "restarts": self.restarts, "step": self.step_size(threat)}
        return {**super().figures(threat, stochastic), **resolved}

    def image_passes(self, stochastic: bool) -> float:
        # Restarts are compared with each other and with the clean image.
        compared = 1 + self.restarts if self.restarts > 1 else 0
        draws = self.draws(stochastic)
        # A mean probability is known before its gradient is taken.
        passes = 3 if self.average == "probabilities" and draws > 1 else 2
        return float((passes * self.steps * self.restarts + compared) * draws)

    def perturb(
        self,
        model: AttackedModel,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        generator: Generator,
        *,
        loss: Loss | None = None,
        start: Start | None = None,
        early_stop: bool = True,
    ) -> Tensor:
        """The loop with this attack's verbs. A training step may replace `loss` and `start`, and attacks every image to the
        end, whatever the attack's own `early_stop` says."""
        from robuststack.attacks.ascent import ascend

        return ascend(self, model, x, y, threat, generator, start=start, loss=loss, early_stop=early_stop)
