"""From a suite's parts to cells: every name and option resolved, every refusal made, with the place in the file."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robuststack.errors import ModelError, PluginError, Problems
from robuststack.paths import absolute
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Point
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.plugin.registry import Registry
from robuststack.plugin.threat import Norm, Threat, check_radius
from robuststack.suite.cell import Cell
from robuststack.suite.cell_checks import CellChecks
from robuststack.suite.exported import unlike
from robuststack.suite.part import Part
from robuststack.suite.parts import DatasetPart, DefensePart, ThreatSpec
from robuststack.suite.phases import phases_of_none, with_phases
from robuststack.suite.recipe import PhaseRecipe, Recipe, merged, misplaced
from robuststack.suite.smoke import StandIn, ends
from robuststack.suite.suite import Suite
from robuststack.suite.user_model import UserModel, find_user_model
from robuststack.suite.variant import Training, Variant
from robuststack.wording import options_text

MOST_COMBINATIONS = 10_000
"""Of the values that one sweep, or one grid of points, lists."""
Sections = tuple[tuple[Recipe, tuple[str | int, ...]], ...]


@dataclass(frozen=True)
class _Model:
    """A defense, its operating points, and the user's own model in place of one that it trains."""

    index: int
    part: DefensePart
    defense: Variant
    points: list[dict[str, Any]]
    user_model: UserModel | None

    @property
    def brings_network(self) -> bool:
        return self.user_model.brings_network if self.user_model else not self.defense.component.trains


class Resolver:
    """Resolves the parts of a suite against what is registered, and collects everything that could not run."""

    def __init__(self, suite: Suite, registry: Registry) -> None:
        self.suite = suite
        self.registry = registry
        self.problems = Problems()
        self.checks = CellChecks(suite, registry, self.problems)

    def attacks(self) -> dict[str, Variant]:
        """Label -> attack, in the suite's order. What is wrong with them is raised by `cells`."""
        labelled: dict[str, Variant] = {}
        norms = self._norms()
        for index, part in enumerate(self.suite.attacks):
            variants = self._variants("attack", part, ("attacks", index))
            labels = [part.label or variant.component.label_for(norms) for variant in variants]
            times = Counter(labels)
            for variant, plain in zip(variants, labels, strict=True):
                label = f"{plain} {options_text(variant.swept)}" if times[plain] > 1 else plain
                if label in labelled:
                    message = f"two attacks are labelled {label!r}; give one of them another `label:`"
                    self.problems.add(self.suite.error(message, "attacks", index))
                labelled[label] = variant
        if labelled and all(variant.component.natural for variant in labelled.values()):
            message = "these are natural shifts alone; robust accuracy needs an attack such as pgd beside them"
            self.problems.add(self.suite.error(message, "attacks"))
        return labelled

    def _norms(self) -> tuple[Norm, ...]:
        """The norms of the suite's threat models."""
        pairs = itertools.product(self.suite.datasets, self.suite.threat)
        return tuple(dict.fromkeys(dataset.threat.norm or threat.norm for dataset, threat in pairs))

    def cells(self, attacks: Mapping[str, Variant]) -> list[Cell]:
        """The product of datasets, architectures, threat models, recipes and defenses.

        Raises:
            SuiteError: with file and line, for everything in the suite that could not run.
        """
        suite = self.suite
        defenses = [model for index, part in enumerate(suite.defenses) for model in self._models(part, index)]
        cells: list[Cell] = []
        for d, data_part in enumerate(suite.datasets):
            networks = self._networks(data_part, d)
            if not (data_part.architectures or suite.architectures):
                for model in defenses:
                    if not model.brings_network:
                        message = (
                            f"defense {model.part.name!r} rewrites a network, and the suite has no `architectures:`"
                        )
                        self.problems.add(suite.error(message, "defenses", model.index))
            # None: the models that bring a network of their own.
            for dataset, network, (t, recipe) in itertools.product(
                self._datasets(data_part, ("datasets", d)), [*networks, None], enumerate(suite.train)
            ):
                for threat, model in itertools.product(self._threats(d, dataset), defenses):
                    if model.brings_network != (network is None):
                        continue
                    sections = (
                        (model.part.train, ("defenses", model.index, "train")),
                        (data_part.train, ("datasets", d, "train")),
                        (recipe, ("train", t)),
                    )
                    with self.problems.collected():
                        training = self._training(sections, model)
                        attack = self._training_attack(training, threat)
                        cell = Cell(
                            dataset, network, threat, training, attack, model.defense, model.points, model.user_model
                        )
                        self.checks.check(cell, attacks)
                        cells.append(cell)
                    if len(cells) > MOST_COMBINATIONS:
                        message = (
                            f"more than {MOST_COMBINATIONS:,} combinations of datasets, networks, recipes and defenses"
                        )
                        raise self.suite.error(message)
        self._check_phases(defenses)
        self.problems.raise_all()
        return cells

    def _check_phases(self, defenses: Sequence[_Model]) -> None:
        """Refuse what the suite or a dataset says of phases that no defense has."""
        components = [model.defense.component for model in defenses]
        sections: list[tuple[Recipe, Sequence[str | int]]]
        sections = [(recipe, ("train", t)) for t, recipe in enumerate(self.suite.train)]
        sections += [(part.train, ("datasets", d, "train")) for d, part in enumerate(self.suite.datasets)]
        for section, path in sections:
            for name, problem in phases_of_none(components, section).items():
                self.problems.add(self.suite.error(problem, *path, "phases", name))

    def _models(self, part: DefensePart, index: int) -> Iterator[_Model]:
        """A defense of the suite with each of its swept options."""
        with self.problems.collected():
            user_model = self._user_model(part, ("defenses", index))
            for defense in self._variants("defense", part, ("defenses", index)):
                if user_model and not defense.component.trains:
                    message = f"defense {part.name!r} brings its own model: leave `model:` out"
                    raise self.suite.error(message, "defenses", index, "model")
                if user_model and user_model.source.load:
                    file = user_model.source.text
                    if message := unlike(absolute(file), file, defense.component):
                        raise self.suite.error(message, "defenses", index, "model")
                with self.problems.collected():
                    yield _Model(index, part, defense, self._points(defense), user_model)

    def _networks(self, part: DatasetPart, d: int) -> list[Variant | None]:
        path: tuple[str | int, ...] = ("datasets", d, "architectures") if part.architectures else ("architectures",)
        return [
            variant
            for index, network in enumerate(part.architectures or self.suite.architectures)
            for variant in self._variants("architecture", network, (*path, index))
        ]

    def _user_model(self, part: DefensePart, path: tuple[str | int, ...]) -> UserModel | None:
        try:
            return find_user_model(part.model) if part.model else None
        except ModelError as error:
            raise self.suite.error(error, *path, "model") from None

    def _datasets(self, part: DatasetPart, path: tuple[str | int, ...]) -> Iterator[Variant]:
        for variant in self._variants("dataset", part, path):
            yield replace(variant, component=StandIn(variant.component, part.stand_in)) if part.stand_in else variant

    def _threats(self, d: int, dataset: Variant) -> list[Threat]:
        change = dataset.part.threat
        if change.model_fields_set and len(self.suite.threat) > 1:
            message = "an eps or a norm of its own beside a list of threat models; say it in one place"
            self.problems.add(self.suite.error(message, "datasets", d, "threat"))
            return []
        threats = []
        for index, threat in enumerate(self.suite.threat):
            with self.problems.collected():
                threats.append(self._threat(index, threat, d, dataset))
        return threats

    def _threat(self, index: int, threat: ThreatSpec, d: int, dataset: Variant) -> Threat:
        change = dataset.part.threat
        norm = change.norm or threat.norm
        # A radius of another norm is none in this one.
        eps = change.eps or (threat.eps if norm == threat.norm else None)
        if eps is None and norm != "linf":
            name, usual = dataset.component.name, f"{dataset.component.eps:g}"
            message = f"threat: norm {norm} needs an eps: the usual one of {name}, {usual}, is for linf"
            raise self.suite.error(
                message, *(("datasets", d, "threat", "norm") if change.norm else ("threat", index, "norm"))
            )
        try:
            return Threat(norm=norm, eps=dataset.component.eps if eps is None else check_radius(eps, norm))
        except ValueError as error:
            place = ("datasets", d, "threat", "eps") if change.eps else ("threat", index, "eps")
            raise self.suite.error(f"{self.suite.key(*place)}: {error}", *place) from None

    def _variants(self, kind: str, part: Part, path: tuple[str | int, ...]) -> list[Variant]:
        """The part with each of its swept options; those that are not valid are left out."""
        both = set(part.options) & set(part.sweep)
        if both:
            message = f"option {min(both)!r} is both in options and in sweep"
            self.problems.add(self.suite.error(message, *path, "sweep"))
            return []
        variants: list[Variant] = []
        if not self._is_run(part.sweep, (*path, "sweep")):
            return variants
        for values in itertools.product(*part.sweep.values()):
            swept = dict(zip(part.sweep, values, strict=True))
            try:
                component = self.registry.create(kind, part.name, {**part.options, **swept})
                variants.append(Variant(component, part, path, swept))
            except InvalidOptions as caught:
                for error in caught.all:
                    key = error.path[1:]
                    place = (*path, "sweep", key[0]) if key and key[0] in swept else (*path, "options", *key)
                    self.problems.add(self.suite.error(error, *place))
            except PluginError as error:
                self.problems.add(self.suite.error(error, *path, "name"))
        return variants

    def _is_run(self, grid: Mapping[str, Sequence[Any]], path: tuple[str | int, ...]) -> bool:
        """Whether the values make no more combinations than anybody runs; else they would be laid out for hours."""
        number = math.prod(map(len, grid.values()))
        if number > MOST_COMBINATIONS:
            message = f"{number:,} combinations of values; at most {MOST_COMBINATIONS:,} are run"
            self.problems.add(self.suite.error(message, *path))
        return number <= MOST_COMBINATIONS

    def _training(self, sections: Sections, model: _Model) -> Training:
        """The recipe that the sections, the strongest first, and the defense's own defaults come to."""
        defense: Defense = model.defense.component
        written = {key: value for section, _ in reversed(sections) for key, value in section.written().items()}
        of_phases = written.pop("phases", {})
        wanted = merged(defense.recipe(), written)
        other = misplaced(wanted, written)
        if other:
            key, message = other
            raise self.suite.error(message, *Training(Recipe(), sections).place(key))
        try:
            recipe = parse(Recipe, wanted)
            shared = {key: value for key, value in wanted.items() if key in PhaseRecipe.model_fields}
            return Training(with_phases(defense, recipe, shared, [section for section, _ in sections]), sections)
        except InvalidOptions as error:
            message = f"the recipe of defense {model.part.name!r}: {error}"
            if error.path and error.path[0] not in written and not (error.path[0] == "phases" and of_phases):
                raise self.suite.error(message, *model.defense.path, "name") from None
            # Keys that fit in their own sections and not together: Nesterov's momentum without any.
            place = error.path or ("nesterov",)
            raise self.suite.error(message, *Training(Recipe(), sections).place(str(place[0]), *place[1:])) from None
        except PluginError as error:
            raise self.suite.error(error, *model.defense.path, "name") from None

    def _points(self, defense: Variant) -> list[dict[str, Any]]:
        part: DefensePart = defense.part
        component: Defense = defense.component
        if not part.points:
            wanted: list[tuple[Point, tuple[str | int, ...]]] = [
                (preset, ("name",)) for preset in component.operating_points()
            ]
        else:
            wanted = [
                (dict(zip(grid, values, strict=True)), ("points", index))
                for index, grid in enumerate(part.points)
                if self._is_run(grid, (*defense.path, "points", index))
                for values in itertools.product(*grid.values())
            ]
        points: list[dict[str, Any]] = []
        for point, place in wanted:
            where = (*defense.path, *place)
            try:
                knobs = parse(type(component).Knobs, point).resolved()
                component.check_point(knobs)
            except InvalidOptions as caught:
                for error in caught.all:
                    message = f"points of {component.name}: {error}"
                    self.problems.add(self.suite.error(message, *where, *error.path))
                continue
            except ValueError as error:
                message = f"points of {component.name}: {error}"
                self.problems.add(self.suite.error(message, *where, *list(point)[:1]))
                continue
            if knobs not in points:
                points.append(knobs)
        return points if self.suite.evaluate.points == "all" else ends(points)

    def _training_attack(self, training: Training, threat: Threat) -> GradientAttack:
        recipe, place = training.recipe, training.place("attack")
        name = recipe.attack.name
        try:
            # In training each step sees one noise draw (the papers' algorithms); only a suite that says so pays for EOT.
            fields = self.registry.find("attack", name).load().Options.model_fields
            single = {"draws": 1} if "draws" in fields else {}
            options = {**single, **recipe.attack.options}
            if threat.norm != "linf" and not any(
                "attack" in section.model_fields_set for section, _ in training.sections
            ):
                options.pop("step", None)  # That of a recipe nobody wrote here is for linf.
            attack = self.registry.create("attack", name, options)
        except PluginError as error:
            path = error.path if isinstance(error, InvalidOptions) else ("name",)
            raise self.suite.error(f"train.attack: {error}", *place, *path) from None
        if recipe.attack.sweep:
            raise self.suite.error("the training attack has no sweep; list recipes under train", *place)
        if attack.chooses_draws:
            option = attack.draws_option
            message = (
                f"train.attack: {option}: auto is chosen by attacks on a finished model, and training has none yet"
            )
            raise self.suite.error(f"{message}; give a number (the papers train with 1)", *place, "options", option)
        if not isinstance(attack, GradientAttack):
            message = f"train.attack: {name!r} is no gradient attack, so it cannot train; use pgd or fgsm"
            raise self.suite.error(message, *place)
        return attack
