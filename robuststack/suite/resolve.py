"""From a suite's parts to cells: every name and option resolved, every refusal made, with the place in the file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from robuststack.errors import ModelError, PluginError
from robuststack.plugin.attack import Attack, GradientAttack
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Point
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.plugin.registry import Registry
from robuststack.plugin.threat import Threat
from robuststack.suite.part import Part
from robuststack.suite.parts import DatasetPart, DefensePart
from robuststack.suite.recipe import Recipe, merged, misplaced
from robuststack.suite.smoke import StandIn, ends
from robuststack.suite.suite import Suite
from robuststack.suite.user_model import Given, find_given
from robuststack.suite.variant import Training, Variant, text


@dataclass(frozen=True)
class Cell:
    """One combination of all that a model is trained and scored on; the rows of its points differ in nothing else."""

    dataset: Variant
    architecture: Variant | None
    """None where the model brings its own network."""
    threat: Threat
    training: Training
    attack: GradientAttack
    """The training attack."""
    defense: Variant
    points: list[dict[str, Any]]
    given: Given | None = None
    """The user's own model, in place of one that is trained."""

    @property
    def trains(self) -> bool:
        return self.given is None and bool(self.defense.component.trains)

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with the options of its attack, defaults included."""
        return {**self.training.recipe.resolved(), "attack": self.attack.resolved()}


class Resolver:
    """Resolves the parts of a suite against what is registered.

    Raises:
        SuiteError: from each method, with file and line, for anything that could not run.
    """

    def __init__(self, suite: Suite, registry: Registry) -> None:
        self.suite = suite
        self.registry = registry

    def attacks(self) -> dict[str, Variant]:
        """Label -> attack, in the suite's order."""
        found: dict[str, Variant] = {}
        for index, part in enumerate(self.suite.attacks):
            variants = list(self._variants("attack", part, ("attacks", index)))
            for one in variants:
                label = part.label or one.component.label
                if sum((part.label or other.component.label) == label for other in variants) > 1:
                    label = f"{label} {text(one.swept, first=False)}"
                if label in found:
                    message = f"two attacks are labelled {label!r}; give one of them another `label:`"
                    raise self.suite.error(message, "attacks", index)
                found[label] = one
        return found

    def cells(self, attacks: Mapping[str, Variant]) -> Iterator[Cell]:
        """The product of datasets, architectures, threat models, recipes and defenses."""
        suite = self.suite
        given = [self._given(part, ("defenses", index)) for index, part in enumerate(suite.defenses)]
        for d, data_part in enumerate(suite.datasets):
            networks = self._networks(data_part, d)
            # None: the models that bring a network of their own.
            for dataset, network, (t, recipe) in itertools.product(
                self._datasets(data_part, ("datasets", d)), [*networks, None], enumerate(suite.train)
            ):
                for threat, (i, part) in itertools.product(self._threats(d, dataset), enumerate(suite.defenses)):
                    for defense in self._variants("defense", part, ("defenses", i)):
                        model = given[i]
                        if model and not defense.component.trains:
                            message = f"defense {part.name!r} brings its own model: leave `model:` out"
                            raise self.suite.error(message, "defenses", i, "model")
                        own = model.brings_network if model else not defense.component.trains
                        if not own and not networks:
                            message = f"defense {part.name!r} rewrites a network, and the suite has no `architectures:`"
                            raise self.suite.error(message, "defenses", i)
                        if own != (network is None):
                            continue
                        sections = (
                            (part.train, ("defenses", i, "train")),
                            (data_part.train, ("datasets", d, "train")),
                            (recipe, ("train", t)),
                        )
                        training = self._training(sections, defense.component)
                        attack = self._training_attack(training)
                        points = self._points(defense)
                        cell = Cell(dataset, network, threat, training, attack, defense, points, model)
                        self._check(cell, attacks)
                        yield cell

    def _networks(self, part: DatasetPart, d: int) -> list[Variant | None]:
        path: tuple[str | int, ...] = ("datasets", d, "architectures") if part.architectures else ("architectures",)
        return [
            one
            for index, network in enumerate(part.architectures or self.suite.architectures)
            for one in self._variants("architecture", network, (*path, index))
        ]

    def _given(self, part: DefensePart, path: tuple[str | int, ...]) -> Given | None:
        try:
            return find_given(part.model) if part.model else None
        except ModelError as error:
            raise self.suite.error(error, *path, "model") from None

    def _datasets(self, part: DatasetPart, path: tuple[str | int, ...]) -> Iterator[Variant]:
        for one in self._variants("dataset", part, path):
            yield replace(one, component=StandIn(one.component, part.stand_in)) if part.stand_in else one

    def _threats(self, d: int, dataset: Variant) -> list[Threat]:
        own = dataset.part.threat
        if own.eps and len(self.suite.threat) > 1:
            message = "an eps of its own beside a list of threat models; say it in one place"
            raise self.suite.error(message, "datasets", d, "threat")
        return [Threat(norm=one.norm, eps=own.eps or one.eps or dataset.component.eps) for one in self.suite.threat]

    def _variants(self, kind: str, part: Part, path: tuple[str | int, ...]) -> Iterator[Variant]:
        both = set(part.options) & set(part.sweep)
        if both:
            raise self.suite.error(f"option {min(both)!r} is both in options and in sweep", *path, "sweep")
        for values in itertools.product(*part.sweep.values()):
            swept = dict(zip(part.sweep, values, strict=True))
            try:
                component = self.registry.create(kind, part.name, {**part.options, **swept})
            except InvalidOptions as error:
                key = error.path[1:]
                place = (*path, "sweep", key[0]) if key and key[0] in swept else (*path, "options", *key)
                raise self.suite.error(error, *place) from None
            except PluginError as error:
                raise self.suite.error(error, *path, "name") from None
            yield Variant(component, part, path, swept)

    def _training(self, sections: tuple[tuple[Recipe, tuple[str | int, ...]], ...], defense: Defense) -> Training:
        """The recipe that the sections, the strongest first, and the defense's own defaults come to."""
        given = {key: value for section, _ in reversed(sections) for key, value in section.given().items()}
        wanted = merged(defense.recipe(), given)
        other = misplaced(wanted, given)
        if other:
            key, message = other
            raise self.suite.error(message, *Training(Recipe(), sections).place(key))
        try:
            return Training(parse(Recipe, wanted), sections)
        except InvalidOptions as error:
            message = f"the recipe of defense {defense.name!r}: {error}"
            if error.path and error.path[0] not in given:
                raise PluginError(message) from None
            # Keys that fit in their own sections and not together: Nesterov's momentum without any.
            key = str(error.path[0]) if error.path else "nesterov"
            raise self.suite.error(message, *Training(Recipe(), sections).place(key)) from None

    def _check(self, cell: Cell, attacks: Mapping[str, Variant]) -> None:
        data: Dataset = cell.dataset.component
        defense: Defense = cell.defense.component
        recipe, training = cell.training.recipe, cell.training
        if cell.trains and recipe.batch_size > data.size("train"):
            raise self.suite.error(
                f"batch_size {recipe.batch_size} is more than the {data.size('train')} training images of "
                f"{data.name}: an epoch would have no step",
                *training.place("batch_size"),
            )  # fmt: skip
        if cell.trains and recipe.batch_size < defense.min_batch:
            message = f"batch_size {recipe.batch_size}: defense {defense.name!r} needs batches of at least"
            raise self.suite.error(f"{message} {defense.min_batch}", *training.place("batch_size"))
        for one in attacks.values():
            attack: Attack = one.component
            if data.num_classes < attack.min_classes:
                message = f"attack {attack.name!r} needs at least {attack.min_classes} classes, {data.name} has "
                raise self.suite.error(f"{message}{data.num_classes}", *one.path)
            if cell.threat.norm not in attack.norms:
                raise self.suite.error(f"attack {attack.name!r} knows {', '.join(attack.norms)} only", *one.path)
            if attack.needs_gradients and not defense.differentiable:
                message = f"attack {attack.name!r} needs gradients, and defense {defense.name!r} gives none"
                raise self.suite.error(f"{message}; {self.registry.gradient_free()}", *one.path)

    def _points(self, defense: Variant) -> list[dict[str, Any]]:
        part: DefensePart = defense.part
        component: Defense = defense.component
        if not part.points:
            wanted: list[tuple[Point, tuple[str | int, ...]]] = [
                (one, ("name",)) for one in component.operating_points()
            ]
        else:
            wanted = [
                (dict(zip(grid, values, strict=True)), ("points", index))
                for index, grid in enumerate(part.points)
                for values in itertools.product(*grid.values())
            ]
        found: list[dict[str, Any]] = []
        for point, place in wanted:
            where = (*defense.path, *place)
            try:
                knobs = parse(type(component).Knobs, point).resolved()
                component.check_point(knobs)
            except InvalidOptions as error:
                raise self.suite.error(f"points of {component.name}: {error}", *where, *error.path) from None
            except ValueError as error:
                raise self.suite.error(f"points of {component.name}: {error}", *where, *list(point)[:1]) from None
            if knobs not in found:
                found.append(knobs)
        return found if self.suite.evaluate.points == "all" else ends(found)

    def _training_attack(self, training: Training) -> GradientAttack:
        recipe, place = training.recipe, training.place("attack")
        name = recipe.attack.name
        try:
            # In training each step sees one noise draw (the papers' algorithms); only a suite that says so pays for EOT.
            fields = self.registry.find("attack", name).load().Options.model_fields
            single = {"draws": 1} if "draws" in fields else {}
            attack = self.registry.create("attack", name, {**single, **recipe.attack.options})
        except PluginError as error:
            path = error.path if isinstance(error, InvalidOptions) else ("name",)
            raise self.suite.error(f"train.attack: {error}", *place, *path) from None
        if recipe.attack.sweep:
            raise self.suite.error("the training attack has no sweep; list recipes under train", *place)
        if not isinstance(attack, GradientAttack):
            message = f"train.attack: {name!r} is no gradient attack, so it cannot train; use pgd or fgsm"
            raise self.suite.error(message, *place)
        return attack
