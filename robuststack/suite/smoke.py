"""The smallest run of a suite that still goes through all of its code: what `--smoke` makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import PluginError
from robuststack.plugin.dataset import Augmentation, Dataset, Images, Split
from robuststack.plugin.download import Download
from robuststack.plugin.options import AUTO, marked
from robuststack.plugin.registry import Registry
from robuststack.suite.part import Part
from robuststack.suite.parts import AttackPart, DatasetPart, DefensePart
from robuststack.suite.recipe import PhaseRecipe, Recipe
from robuststack.suite.suite import Seeds, Suite

IMAGES = 8
"""Images a split, a batch and a block."""
LENGTHS = ("epochs", "batch_size", "average_from")
"""The keys of a recipe that a smoke run decides itself."""
SUFFIX = ".smoke"
SMOKE = "A smoke run, on a few made-up images and with one epoch of training: its figures say nothing."


class StandIn(Dataset):
    """A dataset's shape and number of classes, with a few made-up images in place of its own."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        super().__init__(dataset.options)
        self.dataset = dataset
        self.count = count
        self.name = dataset.name
        self.distribution = dataset.distribution

    @property
    def eps(self) -> float:  # type: ignore[override]
        return self.dataset.eps

    @property
    def augmentation(self) -> Augmentation:  # type: ignore[override]
        return self.dataset.augmentation

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.dataset.shape

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint

    def size(self, split: Split) -> int:
        return self.count

    @property
    def classes(self) -> Sequence[str]:
        return self.dataset.classes

    @property
    def notes(self) -> Sequence[str]:
        return self.dataset.notes

    def training_problem(self) -> str:
        return self.dataset.training_problem()

    def downloads(self) -> Sequence[Download]:
        return ()

    def load(self, folder: Path) -> dict[Split, Images]:
        return self.dataset.stand_in(self.count)

    def resolved(self) -> dict[str, Any]:
        return {**self.dataset.resolved(), "stand_in": self.count}


def shrunk(suite: Suite, registry: Registry) -> Suite:
    """The suite with narrow networks, one seed, one epoch, one made-up batch, two points a defense, and cheap attacks.

    It is named `<suite>.smoke`, so that its leaderboard never stands for the real one.

    Raises:
        SuiteError: a name that nobody registered, as the suite itself would say it.
    """
    return suite.model_copy(
        update={
            "name": f"{suite.name}{SUFFIX}",
            "title": f"{suite.title} (smoke run)" if suite.title else "",
            "description": f"{SMOKE} {suite.description}".strip(),
            "datasets": [_dataset(part, registry) for part in suite.datasets],
            "architectures": [_part(part, "architecture", registry) for part in suite.architectures],
            "train": [_recipe(recipe, registry) for recipe in suite.train],
            "defenses": [_defense(part, registry) for part in suite.defenses],
            "attacks": _attacks(suite.attacks, registry),
            "seeds": Seeds(train=suite.seeds.train[:1], attack=suite.seeds.attack[:1]),
            "evaluate": suite.evaluate.model_copy(
                update={"limit": None, "block": IMAGES, "draws": _draws(suite), "keep_images": False, "points": "ends"}
            ),
            "measure": suite.measure.model_copy(update={"batch_size": 1, "repeats": 3, "warmup": 0}),
        }
    )


def _draws(suite: Suite) -> int:
    """As few as the suite's readings take, with an interval."""
    return max(2 * reading.size for reading in suite.evaluate.parsed_readings)


def ends(values: Sequence[Any]) -> list[Any]:
    """The first and the last."""
    return [*values[:1], *values[1:][-1:]]


def _dataset(part: DatasetPart, registry: Registry) -> DatasetPart:
    networks = [_part(network, "architecture", registry) for network in part.architectures]
    small = {"architectures": networks, "train": _section(part.train), "sweep": _ends(part.sweep)}
    return part.model_copy(update={"stand_in": IMAGES, **small})


def _ends(sweep: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {key: ends(values) for key, values in sweep.items()}


def _cheap(kind: str, name: str, registry: Registry) -> Mapping[str, Any]:
    """The options that the component declares cheap."""
    try:
        registration = registry.find(kind, name)
        cheap = marked(registration.load().Options, "smoke")
    except PluginError:  # The resolver says so, with the place in the file.
        return {}
    return {key: value for key, value in cheap.items() if key not in registration.preset}


def _part(part: Part, kind: str, registry: Registry) -> Any:
    # What a run is to choose, it chooses in a smoke run too.
    cheap = {key: value for key, value in _cheap(kind, part.name, registry).items() if part.options.get(key) != AUTO}
    sweep = _ends({key: values for key, values in part.sweep.items() if key not in cheap})
    return part.model_copy(update={"options": {**part.options, **cheap}, "sweep": sweep})


def _attacks(parts: Sequence[AttackPart], registry: Registry) -> list[AttackPart]:
    """Cheap attacks; what differed in its number of steps alone is one attack now."""
    small: list[AttackPart] = []
    for part in parts:
        attack = _part(part, "attack", registry)
        if attack not in small:
            small.append(attack)
    return small


def _defense(part: DefensePart, registry: Registry) -> DefensePart:
    return _part(part, "defense", registry).model_copy(update={"train": _section(part.train)})  # type: ignore[no-any-return]


def _section(recipe: Recipe) -> Recipe:
    """What a dataset or a defense changes of the recipe, without what a smoke run decides itself."""
    written = {key: value for key, value in recipe.written().items() if key not in (*LENGTHS, "attack", "phases")}
    return Recipe(**{**written, **_phases(recipe)})


def _recipe(recipe: Recipe, registry: Registry) -> Recipe:
    attack = _part(recipe.attack, "attack", registry)
    return recipe.model_copy(
        update={"epochs": 1, "batch_size": IMAGES, "average_from": None, "attack": attack, **_phases(recipe)}
    )


def _phases(recipe: Recipe) -> dict[str, Any]:
    """What a recipe changes in its phases, as the keyword of a recipe; none if it changes nothing."""
    phases = {
        name: PhaseRecipe(**{key: value for key, value in phase.written().items() if key not in LENGTHS})
        for name, phase in recipe.phases.items()
    }
    return {"phases": phases} if phases else {}
