"""What a job is: typed specifications, written and parsed here alone.

A specification says everything that can change its job's result. It is plain JSON data on disk (`plain`) and one of these
records everywhere else (`parse_spec`); a job's id is the hash of `identity`, which leaves out where things lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    model_serializer,
)

from robuststack.errors import StoreError
from robuststack.image_selection import LimitRule, limited, sampled
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Split
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import THIS_PROCESS
from robuststack.plugin.threat import Threat
from robuststack.suite.recipe import Recipe
from robuststack.suite.suite import Evaluate, Measure
from robuststack.suite.user_model import UserModel

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["train", "draws", "attack", "judge", "game", "measure", "probe"]


class Spec(BaseModel):
    """The base of all specifications: unknown keys are errors, instances do not change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return self.model_dump(mode="json", by_alias=True)

    def identity(self) -> dict[str, Any]:
        """The same without where things lie on this machine."""
        return self.model_dump(mode="json", by_alias=True, context={"identity": True})


class Placed(Spec):
    """A specification of something that lies somewhere: a moved file is the same file."""

    places: dict[str, Any] = {}
    """Option -> where it lies. It enters no id: the fingerprint stands for what is there."""
    fingerprint: str = ""

    @model_serializer(mode="wrap")
    def _without_places(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if info.context and info.context.get("identity"):
            del data["places"]
        return data


class ComponentSpec(Placed):
    """A component with every option. `stand_in` is how many made-up images stand in for a dataset's own."""

    name: str
    plugin: str
    revision: int
    options: dict[str, Any]
    stand_in: int | None = None

    @classmethod
    def of(cls, component: Component) -> Self:
        """The specification of a component."""
        return cls.model_validate(component.resolved())


class UserModelSpec(Placed):
    """A finished model of the user's: a function, or a file of weights under `places["load"]`."""

    python: str | None = None
    """`package.module:function`"""
    key: str | None = None
    """Which of several state dicts in the file."""
    stochastic: bool = False
    """Whether the user says that two forward passes differ."""

    @classmethod
    def of(cls, model: UserModel) -> Self:
        """The specification of a model that the user brings."""
        return cls.model_validate(model.resolved())

    @property
    def text(self) -> str:
        """The function as the user wrote it, or the file from the root."""
        return self.python or str(self.places["load"])


class ModelSpec(Spec):
    """What a model is made of, before any training. Models that bring a network of their own have no architecture."""

    dataset: ComponentSpec
    defense: ComponentSpec
    architecture: ComponentSpec | None = None
    user_model: UserModelSpec | None = None

    @property
    def is_live(self) -> bool:
        """Whether it is an object of the running program."""
        return self.defense.plugin == THIS_PROCESS


class ImageSample(Spec):
    """A seeded sample, each class in proportion, of the images that a selection takes."""

    count: int = Field(ge=1)
    besides: int = Field(0, ge=0)
    """Above 0: a sample of the images that the sample of this many leaves."""


class ImageSelection(Spec):
    """The images that a model is scored on: `limit` of a split, chosen by a rule, or all; and of these a sample, or all."""

    split: Split
    limit: int | None = None
    rule: LimitRule | None = None
    """None without a limit: there is no choice to make."""
    sample: ImageSample | None = None

    @model_serializer(mode="wrap")
    def _leave_out_absent_sample(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return data if self.sample else {key: value for key, value in data.items() if key != "sample"}

    @classmethod
    def of(cls, evaluate: Evaluate) -> Self:
        """The images that a suite scores on."""
        limit = evaluate.limit
        return cls(split=evaluate.split, limit=limit, rule=None if limit is None else evaluate.limit_rule)

    def count(self, size: int) -> int:
        """How many images of a split of `size` images that is."""
        chosen = size if self.limit is None else min(size, self.limit)
        if self.sample is None:
            return chosen
        return min(self.sample.count, max(chosen - self.sample.besides, 0))

    def sampled(self, count: int, besides: int = 0) -> ImageSelection:
        """A sample of `count` of these images; with `besides`, of those that the sample of that many leaves.

        No more images than there are make a sample of all, which is another selection by name and the same by content.
        """
        return self.model_copy(update={"sample": ImageSample(count=count, besides=besides)})

    def rows(self, labels: np.ndarray) -> np.ndarray:
        """The rows of the split that are taken, in its order: labels [N], whole numbers -> int64."""
        rows = limited(labels, self.limit, self.rule or "first")
        if self.sample is None:
            return rows
        chosen: np.ndarray = rows[sampled(labels[rows], self.sample.count, besides=self.sample.besides)]
        return chosen


class TrainSpec(Spec):
    """Train a model."""

    kind: ClassVar[Kind] = "train"
    model: ModelSpec
    threat: Threat
    recipe: Recipe
    """How; the recipe's own `attack`, as the suite wrote it, is not a part of this: `attack` is."""
    attack: ComponentSpec
    seed: int
    device: str
    precision: str

    @field_serializer("recipe")
    def _recipe(self, recipe: Recipe) -> dict[str, Any]:
        return recipe.model_dump(mode="json", by_alias=True, exclude={"attack"})

    @property
    def described(self) -> ModelSpec | None:
        """The model that this job makes, or that is brought to it; None where another job makes it."""
        return self.model


class BlocksSpec(Spec):
    """What jobs that score a model share: a model under a setting, and images in blocks."""

    model: str
    """The id of its train job, or one of its own where no job here trains it."""
    foreign: ModelSpec | None
    """The model, whole, where no job here trains it."""
    setting: Setting
    selection: ImageSelection
    seed: int
    block: int
    """Images a block; each has random streams of its own, named by its number."""
    device: str
    bake: int | None = None
    """Which baked draw of all its randomness stands for the model: the number names the draw, the same in every job, block
    and process. None: the model draws its noise afresh, and the specification does not mention bakes."""

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        # One for all classes: that of a subclass would replace it.
        absent = [name for name in ("bake", "draws_from", "draws_times") if data.get(name, ...) is None]
        return {key: value for key, value in data.items() if key not in absent}

    @property
    def described(self) -> ModelSpec | None:
        """The model that is brought to this job; None where another job makes it."""
        return self.foreign

    @property
    def draws_noise(self) -> bool:
        """Whether two forward passes of what the job sees differ."""
        return self.setting.stochastic and self.bake is None


class AttackSpec(BlocksSpec):
    """Make adversarial images. `setting` is how the attacker sees the model."""

    kind: ClassVar[Kind] = "attack"
    attack: ComponentSpec
    threat: Threat
    precision: str
    early_stop: bool
    """Whether an image that the model gets wrong is done. Such images may be judged at this setting only, unrounded."""
    draws_from: str | None = None
    """The job that chooses how many draws the attack averages over, if its options leave that to a run."""
    draws_times: int | None = Field(None, ge=2)
    """Times the draws that the job chose; None: as many."""


class DrawsSpec(BlocksSpec):
    """Choose how many draws an attack averages over on a randomised setting: attack a probe of images with 1, 2, 4, ...
    draws, and judge them on noise of a stream that nothing else uses."""

    kind: ClassVar[Kind] = "draws"
    attack: ComponentSpec
    threat: Threat
    precision: str
    judged: int
    """Noise draws that judge the probe."""
    cap: int
    """The most draws that are tried."""


class JudgeSpec(BlocksSpec):
    """Keep the label that a model predicts for every image, in every draw of its noise. `setting` is what is deployed."""

    kind: ClassVar[Kind] = "judge"
    images: str | None
    """The attack job whose images are judged, those of them that `selection` takes; None for the clean ones."""
    eight_bit: bool = False
    """Round the images to multiples of 1/255 first, as an image file would."""
    draws: int
    stream: Literal["judge", "rejudge"] = "judge"
    """Names the noise, beside the seed: every attack of a point is judged on the same."""


class ProbeSpec(BlocksSpec):
    """Look at a live model, as a check of the audit does, and keep what was seen as facts."""

    kind: ClassVar[Kind] = "probe"
    probe: str
    """A module of `robuststack.engine.probes`."""
    revision: int
    """Raised when what the probe looks at changes."""
    attack: ComponentSpec | None = None
    """The attack that is looked at, if the probe looks at one."""
    draws_from: str | None = None
    """The job that chose how many draws that attack averages over, if a run chooses them."""
    threat: Threat
    precision: str
    draws: int
    """Noise draws that judge an image; 1 at a deterministic point."""


class GameRow(Spec):
    """A way of crafting images: an attack on a setting, and the jobs that judged its images."""

    attack: int
    """Position among the game's attacks."""
    setting: int
    """Position among the game's settings."""
    judged: tuple[str, ...]
    """The judge job of each setting."""
    draws_from: str | None = None
    """The job that chose the attack's draws at the setting, if a run chooses them."""


class GameSpec(BlocksSpec):
    """Attack the mixture of one model's settings that is worth most, and judge the images at every setting, until the worth
    no longer falls. `setting` is the first of `settings`, and `seed` the attack's."""

    kind: ClassVar[Kind] = "game"
    others: tuple[Setting, ...]
    """The settings after the first."""
    attacks: tuple[ComponentSpec, ...]
    rows: tuple[GameRow, ...]
    clean: tuple[str, ...]
    """The judge job of the clean images at each setting."""
    least_clean: float | None
    """The mixture's clean accuracy in percent must be at least this."""
    threat: Threat
    precision: str
    draws: int
    """Noise draws that judge a randomised setting."""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, in the order of the suite's points."""
        return (self.setting, *self.others)

    @property
    def judged(self) -> list[str]:
        """Every judge job that the game reads, each once."""
        return list(dict.fromkeys([*self.clean, *(job for row in self.rows for job in row.judged)]))


class MeasureSpec(Spec):
    """Count and time a model."""

    kind: ClassVar[Kind] = "measure"
    model: ModelSpec
    shape: tuple[int, int, int]
    num_classes: int
    setting: Setting
    measure: Measure
    device: str

    @property
    def described(self) -> ModelSpec | None:
        """The model that is measured."""
        return self.model


JobSpec = TrainSpec | DrawsSpec | AttackSpec | JudgeSpec | GameSpec | ProbeSpec | MeasureSpec
JobSpecType = (
    type[TrainSpec]
    | type[DrawsSpec]
    | type[AttackSpec]
    | type[JudgeSpec]
    | type[GameSpec]
    | type[ProbeSpec]
    | type[MeasureSpec]
)
SPECS: dict[str, JobSpecType] = {
    spec.kind: spec for spec in (TrainSpec, DrawsSpec, AttackSpec, JudgeSpec, GameSpec, ProbeSpec, MeasureSpec)
}


def parse_spec(result: Mapping[str, Any]) -> JobSpec:
    """The specification in a stored result.

    Raises:
        StoreError: it is none that this version writes.
    """
    try:
        return SPECS[result["kind"]].model_validate(result["spec"])
    except (KeyError, ValidationError) as error:
        reason = (
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else error
        )
        raise StoreError(
            f"job {result.get('id')} has a specification that this version cannot read: {reason}"
        ) from None


def effective_early_stop(
    allowed: bool, attacker: Setting, victim: Setting, *, baked: bool = False, eight_bit: bool = False
) -> bool:
    """Whether images may be done once they fool the attacker's model: where the attack allows it, it draws no noise, and it
    is the very one that judges them, unrounded. `baked` says that one baked draw is both."""
    return allowed and (baked or not attacker.stochastic) and attacker == victim and not eight_bit
