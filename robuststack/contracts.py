"""What a plugin author implements: four kinds of component, and the small records they exchange with the host.

Importing this module does not import torch; neither may a plugin's module at its top. Torch is imported inside methods,
so that `robuststack list`, `show`, `check` and `plan` stay quick.

Tensors: images are float32 [N, C, H, W] in [0, 1]; logits are [N, K]; labels are int64 [N].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, get_args

from pydantic import Field

from robuststack.errors import PluginError
from robuststack.options import Options, PixelLength, marked, option, parse

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from robuststack.layers.condition import View

Point = Mapping[str, Any]
"""An operating point: knob -> value, as a suite writes it, for example {"lambda_n": 0.2, "lambda_th": 0.5}."""

AnyOptions = Options
"""The base of every options model, under a name that no component's own `Options` hides."""

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(logits [N, K], targets [N] or [N, K]) -> loss of each sample [N]; attacks climb its sum."""


class Threat(Options):
    """The threat model: how far an adversarial image may be from the clean one."""

    norm: Literal["linf"] = option("linf", "The norm of the perturbation.")
    eps: PixelLength = Field(description="The radius of the ball, in units of the [0, 1] pixel range.")


@dataclass(frozen=True)
class Setting:
    """How a model is run: the values of its condition's fields, as JSON data, and whether its forward pass is random.

    Points that come to the same setting share their attack jobs.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    stochastic: bool = False

    def resolved(self) -> dict[str, Any]:
        return {"values": dict(self.values), "stochastic": self.stochastic}


@dataclass(frozen=True)
class Scoring:
    """One protocol at one point: what runs for clean accuracy, what the attacker sees, and what is attacked."""

    clean: Setting
    attacker: Setting
    victim: Setting
    draws: int | None = None
    """How many noise draws attacks average over where the attacker's model is randomised; None: as the suite sets each."""


class Component:
    """The base of the four kinds. Set by the registry: `name` (as registered) and `distribution` (who brought it)."""

    kind: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    paper: ClassVar[str] = ""
    """Where the method is from: authors, title, venue or arXiv number."""
    revision: ClassVar[int] = 1
    """Raised when a change of the code changes results; a part of every job id that uses the component."""

    name: str = ""
    distribution: str = ""

    def __init__(self, options: AnyOptions | None = None) -> None:
        self.options: Any = options if options is not None else self.Options()

    @property
    def fingerprint(self) -> str:
        """Identifies what the component reads from outside its options (data, weights): a declared constant or the hash
        of a file. It enters every job id that uses the component."""
        return ""

    def downloads(self) -> Sequence[Download]:
        """What the component would fetch; empty where it needs nothing from a network."""
        return ()

    def resolved(self) -> dict[str, Any]:
        """The component as jobs write it down. Its `places` are left out of their ids."""
        options = self.options.resolved()
        places = {key: options.pop(key) for key in marked(self.options, "place")}
        return {
            "name": self.name,
            "plugin": self.distribution,
            "revision": self.revision,
            "options": options,
            **({"places": places} if places else {}),
            **({"fingerprint": self.fingerprint} if self.fingerprint else {}),
        }

    @classmethod
    def summary(cls) -> str:
        """The first line of the class's docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class Architecture(Component):
    """A network family. It builds a plain module, and marks the role of each norm layer with `layers.roles.mark`, or of
    all of them with `mark_by_structure`."""

    kind = "architecture"

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A new module, images of `shape` (C, H, W) -> logits [N, num_classes], freshly initialised.

        Normalisation, where the network wants any, lives inside it.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed at random: zero-padding and cropping back, and mirroring."""

    pad: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Download:
    """A file that a dataset fetches: where from, its hash, and where it lies below the data folder."""

    url: str
    hash: str
    path: str


@dataclass(frozen=True)
class Images:
    """One split: `images` uint8 [N, C, H, W] in 0..255 or float32 in [0, 1], and `labels` int64 [N], NumPy arrays."""

    images: np.ndarray
    labels: np.ndarray


Split = Literal["train", "validation", "test"]


class Dataset(Component):
    """A labelled set of images in three splits. `validation` is held out from training, never from test."""

    kind = "dataset"
    eps: float = 8 / 255
    """The usual Linf radius for this dataset; a suite's `threat.eps` replaces it."""
    augmentation: Augmentation = Augmentation()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Identifies the data without reading it: a declared constant, which `load` checks."""
        raise NotImplementedError

    def size(self, split: Split) -> int:
        """How many images the split has, known without reading them."""
        raise NotImplementedError

    def load(self, folder: Path) -> dict[Split, Images]:
        """All splits. `folder` is the data cache, where downloads go.

        Raises:
            DatasetError: the data is absent and cannot be fetched, or is not what the fingerprint promises.
        """
        raise NotImplementedError

    def stand_in(self, count: int) -> dict[Split, Images]:
        """`count` images a split of this shape and number of classes, made of nothing: what `--smoke` runs on."""
        import numpy as np

        random = np.random.RandomState(0)
        labels = np.arange(count, dtype=np.int64) % self.num_classes
        return {
            split: Images(random.randint(256, size=(count, *self.shape)).astype(np.uint8), labels)
            for split in get_args(Split)
        }


class TrainStep(Protocol):
    """One training batch, as a defense's `training_step` receives it."""

    model: nn.Module
    x: Tensor
    """Clean images [B, C, H, W]."""
    y: Tensor
    """Labels [B]."""
    epoch: int
    """0-based."""
    epochs: int

    def attack(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        loss: Loss | None = None,
        start: Literal["uniform", "normal", "zero"] | None = None,
    ) -> Tensor:
        """Adversarial images against `view` by the recipe's training attack, in eval mode with frozen parameters.

        `y` holds the targets of `loss` (class indices or probabilities). Every module's mode is restored afterwards.
        """

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a scalar; may be called several times a step."""

    def observe(self, name: str, logits: Tensor, y: Tensor) -> None:
        """Count how often `logits` are right, for the progress display (`ca`, `ra`); no effect on training."""


class Defense(Component):
    """A way to train a robust model and to run it. It rewrites any architecture that marks its norm layers."""

    kind = "defense"
    trains: ClassVar[bool] = True
    """False for a model that is only evaluated: `load` is called instead of `build`, and there is no train job."""

    undefended: ClassVar[bool] = False
    """True for plain training: what the times of the defenses are held against."""

    differentiable: ClassVar[bool] = True
    """False for a model that gives no gradients: attacks that need them are refused."""

    min_batch: ClassVar[int] = 1
    """The smallest training batch that `training_step` can work with."""

    class Knobs(Options):
        """What can be tuned at deployment without training again: one field a knob, with its range."""

    def recipe(self) -> Mapping[str, Any]:
        """Keys of a suite's `train` section whose defaults this defense changes; the suite's own values win."""
        return {}

    def image_passes(self, steps: int) -> float:
        """Work of a training step per image, in forward passes (a backward pass to weights and input counts 2, to the
        input alone 1), with an attack of `steps` steps. It feeds the estimate of `plan` and the time left."""
        return 3.0

    def build(self, architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The model to train: the architecture's module, rewritten."""
        return architecture.build(shape, num_classes)

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The finished model of a defense that does not train. `folder` is the data cache, where downloads go."""
        raise NotImplementedError

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups; by default one, all parameters decayed alike."""
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]

    def training_step(self, step: TrainStep) -> None:
        """Forward and backward passes of one batch; the host clears gradients before and steps the optimiser after."""
        raise NotImplementedError

    def after_step(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Called after each optimiser step (to apply masks, say)."""

    def after_epoch(self, model: nn.Module, optimizer: Optimizer, epoch: int, epochs: int) -> None:
        """Called after each epoch (0-based), before its checkpoint. What it decides may depend on the states of model and
        optimiser, which a resumed run restores, and on nothing else."""

    def operating_points(self) -> list[Point]:
        """The points of a suite that names none: by default one, every knob at its default."""
        return [{}]

    def most_robust(self) -> Setting:
        """How the model runs at the last operating point, the robust end of the knobs."""
        return self.setting(parse(self.Knobs, self.operating_points()[-1]).resolved())

    def whole_point(self, knobs: Point) -> dict[str, Any]:
        """An operating point with every knob; those that are not named keep their defaults.

        Raises:
            PluginError: the defense has no such knob or point.
        """
        try:
            point = parse(self.Knobs, knobs).resolved()
            self.check_point(point)
        except (PluginError, ValueError) as error:
            raise PluginError(f"{self.name}: {error}") from None
        return point

    def check_point(self, point: Point) -> None:
        """Refuse a point that the knobs' ranges allow but this model does not have.

        Raises:
            ValueError: with what would be valid.
        """

    def setting(self, point: Point) -> Setting:
        """How the model runs at `point` (all knobs given)."""
        return Setting()

    def protocols(self, point: Point) -> dict[str, Scoring]:
        """The ways to score `point`, by name. `adaptive`, where the attacker sees what is deployed, is the headline."""
        setting = self.setting(point)
        return {"adaptive": Scoring(clean=setting, attacker=setting, victim=setting)}

    def view(self, model: nn.Module, setting: Setting) -> View:
        """`model` under `setting`, sharing its weights."""
        from robuststack.layers.condition import View

        return View(model, setting.values, stochastic=setting.stochastic)

    def deploy(self, model: nn.Module, point: Point, *, frozen: bool = False) -> nn.Module:
        """The model at `point`: a view that shares the weights or, `frozen`, an independent copy with one noise draw
        baked into its weights, which is then deterministic."""
        view = self.view(model, self.setting(point))
        if not frozen:
            return view
        from robuststack.layers.noise import bake

        return bake(view)

    def parameters(self, model: nn.Module, setting: Setting) -> int:
        """How many parameters the model has at `setting`; by default all of them."""
        return sum(parameter.numel() for parameter in model.parameters())

    def nonzero_parameters(self, model: nn.Module, setting: Setting) -> int:
        """How many of them are not fixed at zero; by default none is. It must be known before training: it is counted on
        an untrained model."""
        return self.parameters(model, setting)

    def inspect(self, model: nn.Module) -> Mapping[str, Mapping[str, float]]:
        """What is worth seeing inside a trained model: title -> name -> value, for example alpha by layer."""
        return {}


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
        from robuststack.engine.attack import uniform_start

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
        from robuststack.engine.attack import ascend

        return ascend(
            model, x, y, threat, generator,
            start=start or self.start, loss=loss or self.loss, update=self.update,
            step=self.step_size(threat), steps=self.steps, restarts=self.restarts,
            draws=self.draws(bool(getattr(model, "stochastic", False))),
            early_stop=self.early_stop and early_stop,
        )  # fmt: skip
