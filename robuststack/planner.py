"""From a suite to its plan: every name and option resolved, pure, quick, and without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robuststack.contracts import (
    Attack,
    Component,
    Dataset,
    Defense,
    GradientAttack,
    Point,
    Scoring,
    Setting,
    Threat,
)
from robuststack.digest import job_id, source_digest
from robuststack.errors import PluginError, did_you_mean
from robuststack.hardware import Hardware
from robuststack.options import InvalidOptions, parse
from robuststack.plan import HEADLINE, Job, Plan, RowPlan, Score
from robuststack.registry import Registry
from robuststack.suite import DatasetPart, DefensePart, Part, Recipe, Suite
from robuststack.variants import Training, Variant, differing, shown_recipe, text


def make_plan(suite: Suite, registry: Registry, hardware: Hardware) -> Plan:
    """Resolve every name and option of `suite` and lay out its jobs.

    Raises:
        SuiteError: with file and line, for anything that could not run: it is found before any compute.
    """
    return _Planner(suite, registry, hardware).plan()


@dataclass(frozen=True)
class _Model:
    """What attack jobs score: the model of a train job or, where a defense does not train, the one it loads."""

    id: str
    spec: Mapping[str, Any]
    job: Job | None
    components: tuple[Component, ...]


class _Planner:
    def __init__(self, suite: Suite, registry: Registry, hardware: Hardware) -> None:
        self.suite = suite
        self.registry = registry
        self.hardware = hardware
        self.jobs: dict[str, Job] = {}
        self.protocols: set[str] = {HEADLINE}

    def plan(self) -> Plan:
        attacks = self._attacks()
        rows = [row for cell in self._cells() for row in self._rows(*cell, attacks)]
        unknown = [one for one in self.suite.evaluate.protocols if one not in self.protocols]
        if unknown:
            message = f"no defense here has a protocol {unknown[0]!r}: {did_you_mean(unknown[0], self.protocols)}"
            raise self.suite.error(message, "evaluate", "protocols")
        duplicate = next((one for one in rows if sum(other.label == one.label for other in rows) > 1), None)
        if duplicate:
            raise self.suite.error(f"two rows would be the same: {duplicate.label}")
        # Models are trained and attacked one after another, so that each is loaded once; timings come last, when
        # nothing else is going on.
        jobs = sorted(self.jobs.values(), key=lambda job: job.kind == "measure")
        printed = {
            label: {"name": one.component.name, "options": one.component.options.resolved()}
            for label, one in attacks.items()
        }
        by_id = {job.id: job for job in jobs}
        return Plan(self.suite, self.hardware, tuple(jobs), tuple(rows), printed, by_id=by_id)

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

    def _attacks(self) -> dict[str, Variant]:
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

    def _cells(self) -> Iterator[tuple[Variant, Variant, Threat, Training, Variant]]:
        suite = self.suite
        for d, data_part in enumerate(suite.datasets):
            for dataset in self._variants("dataset", data_part, ("datasets", d)):
                for a, architecture_part in enumerate(suite.architectures):
                    for architecture in self._variants("architecture", architecture_part, ("architectures", a)):
                        for threat_spec, (t, recipe) in itertools.product(suite.threat, enumerate(suite.train)):
                            own = data_part.threat
                            if own.eps and len(suite.threat) > 1:
                                message = "an eps of its own beside a list of threat models; say it in one place"
                                raise suite.error(message, "datasets", d, "threat")
                            eps = own.eps or threat_spec.eps or dataset.component.eps
                            threat = Threat(norm=threat_spec.norm, eps=eps)
                            for i, part in enumerate(suite.defenses):
                                for defense in self._variants("defense", part, ("defenses", i)):
                                    sections = (
                                        (part.train, ("defenses", i, "train")),
                                        (data_part.train, ("datasets", d, "train")),
                                        (recipe, ("train", t)),
                                    )
                                    merged = self._recipe(recipe, data_part, part, defense.component)
                                    yield dataset, architecture, threat, Training(merged, sections), defense

    def _recipe(self, recipe: Recipe, data_part: DatasetPart, part: DefensePart, defense: Defense) -> Recipe:
        given = {**recipe.given(), **data_part.train.given(), **part.train.given()}
        try:
            return parse(Recipe, {**defense.recipe(), **given})
        except InvalidOptions as error:
            raise PluginError(f"the recipe of defense {defense.name!r}: {error}") from None

    def _rows(
        self,
        dataset: Variant,
        architecture: Variant,
        threat: Threat,
        training: Training,
        defense: Variant,
        attacks: Mapping[str, Variant],
    ) -> Iterator[RowPlan]:
        recipe = training.recipe
        self._check_cell(dataset, threat, training, defense, attacks)
        # A model that is not trained has no training seeds.
        seeds = self.suite.seeds.train if defense.component.trains else [0]
        models = {seed: self._model(dataset, architecture, threat, training, defense, seed) for seed in seeds}
        variant = [dataset.named(self.suite.datasets), architecture.named(self.suite.architectures)]
        several = {
            **({"eps": threat.eps} if len(self.suite.threat) > 1 else {}),
            **shown_recipe(recipe, differing(self.suite.train)),
        }
        for point in self._points(defense):
            described = text({**several, **point}, first=False)
            label = f"{'/'.join(variant)}/{defense.named(self.suite.defenses)} {described}".strip()
            facts = {
                "variant": variant,
                "dataset": dataset.component.name,
                "dataset_options": dataset.component.options.resolved(),
                "architecture": architecture.component.name,
                "architecture_options": architecture.component.options.resolved(),
                "defense": defense.component.name,
                "options": defense.component.options.resolved(),
                "shown": {
                    **{key: value for key, value in defense.shown.items() if key not in defense.swept},
                    **several,
                },
                # The knobs, and the options swept by training one model for each value.
                "point": {**defense.swept, **point},
                "retrained": sorted(defense.swept),
                "threat": threat.resolved(),
                "recipe": self._resolved(training) if defense.component.trains else None,
                "device": self.hardware.kind,
                "precision": self.hardware.precision,
            }
            yield self._row(label, facts, dataset, architecture, threat, defense, point, models, attacks)

    def _check_cell(
        self, dataset: Variant, threat: Threat, training: Training, defense: Variant, attacks: Mapping[str, Variant]
    ) -> None:
        data: Dataset = dataset.component
        recipe = training.recipe
        if defense.component.trains and recipe.batch_size > data.size("train"):
            raise self.suite.error(
                f"batch_size {recipe.batch_size} is more than the {data.size('train')} training images of "
                f"{data.name}: an epoch would have no step",
                *training.place("batch_size"),
            )  # fmt: skip
        if defense.component.trains and recipe.batch_size < defense.component.min_batch:
            message = f"batch_size {recipe.batch_size}: defense {defense.component.name!r} needs batches of at least"
            raise self.suite.error(f"{message} {defense.component.min_batch}", *training.place("batch_size"))
        for one in attacks.values():
            attack: Attack = one.component
            if data.num_classes < attack.min_classes:
                message = f"attack {attack.name!r} needs at least {attack.min_classes} classes, {data.name} has "
                raise self.suite.error(f"{message}{data.num_classes}", *one.path)
            if threat.norm not in attack.norms:
                raise self.suite.error(f"attack {attack.name!r} knows {', '.join(attack.norms)} only", *one.path)

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
        return found

    def _model(
        self,
        dataset: Variant,
        architecture: Variant,
        threat: Threat,
        training: Training,
        defense: Variant,
        seed: int,
    ) -> _Model:
        component: Defense = defense.component
        model = {
            "dataset": dataset.component.resolved(),
            "architecture": architecture.component.resolved(),
            "defense": component.resolved(),
        }
        suite = self.suite
        names = dataset.named(suite.datasets), architecture.named(suite.architectures), defense.named(suite.defenses)
        label = "/".join(names) + (f" seed {seed}" if len(suite.seeds.train) > 1 else "")
        parts: list[Component] = [dataset.component, architecture.component, component]
        if not component.trains:
            del model["architecture"]  # It brings its own.
            return _Model(job_id("model", model), model, None, (dataset.component, component))
        recipe, attack = training.recipe, self._training_attack(training)
        spec = {
            **model,
            # The radius of training: one model can be attacked at several.
            "threat": threat.model_copy(update={"eps": recipe.eps or threat.eps}).resolved(),
            "recipe": self._resolved(training),
            "seed": seed,
            "device": self.hardware.kind,
            "precision": self.hardware.precision,
        }
        images = dataset.component.size("train") // recipe.batch_size * recipe.batch_size * recipe.epochs
        work = images * component.image_passes(attack.steps) * _pixels(dataset.component)
        job = self._job("train", label, spec, [*parts, attack], work=work)
        return _Model(job.id, spec, job, ())

    def _resolved(self, training: Training) -> dict[str, Any]:
        """The recipe with the options of its attack, defaults included."""
        return {**training.recipe.resolved(), "attack": self._training_attack(training).resolved()}

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

    def _row(
        self,
        label: str,
        facts: Mapping[str, Any],
        dataset: Variant,
        architecture: Variant,
        threat: Threat,
        defense: Variant,
        point: Mapping[str, Any],
        models: Mapping[int, _Model],
        attacks: Mapping[str, Variant],
    ) -> RowPlan:
        component: Defense = defense.component
        protocols = component.protocols(point)
        wanted = [one for one in self.suite.evaluate.protocols if one in protocols] or [HEADLINE]
        self.protocols.update(protocols)
        clean = {one: self._score(label, None, "clean", threat, protocols[one], dataset, models) for one in wanted}
        robust = {
            one: {
                name: self._score(label, attack.component, name, threat, protocols[one], dataset, models)
                for name, attack in attacks.items()
            }
            for one in wanted
        }
        headline = protocols[HEADLINE if HEADLINE in wanted else wanted[0]]
        measured = self._measure_job(label, dataset, architecture, defense, headline.victim)
        figures = {name: one.component.figures(threat, headline.attacker.stochastic) for name, one in attacks.items()}
        facts = {**facts, "stochastic": headline.victim.stochastic, "attacks": figures}
        train = {seed: model.id for seed, model in models.items() if model.job}
        return RowPlan(label, facts, train, measured.id, clean, robust)

    def _score(
        self,
        label: str,
        attack: Attack | None,
        name: str,
        threat: Threat,
        scoring: Scoring,
        dataset: Variant,
        models: Mapping[int, _Model],
    ) -> Score:
        victim = scoring.victim if attack else scoring.clean
        jobs = {
            (train_seed, attack_seed): self._attack_job(
                label, attack, name, threat, scoring.attacker, victim, dataset, model, attack_seed
            ).id
            for train_seed, model in models.items()
            for attack_seed in self.suite.seeds.attack
        }
        return Score(jobs, victim.stochastic)

    def _attack_job(
        self,
        label: str,
        attack: Attack | None,
        name: str,
        threat: Threat,
        attacker: Setting,
        victim: Setting,
        dataset: Variant,
        model: _Model,
        seed: int,
    ) -> Job:
        evaluate = self.suite.evaluate
        draws = evaluate.draws if victim.stochastic else 1
        images = min(dataset.component.size(evaluate.split), evaluate.limit or 10**12)
        spec: dict[str, Any] = {
            "model": model.id,
            # A model that no job here trains is described whole.
            **({} if model.job else {"source": model.spec}),
            "attack": attack.resolved() if attack else None,
            "victim": victim.resolved(),
            "draws": draws,
            # Clean accuracy of a deterministic model depends on no seed.
            "seed": seed if attack or victim.stochastic else 0,
            "split": evaluate.split,
            "limit": evaluate.limit,
            "batch_size": evaluate.batch_size,
            "device": self.hardware.kind,
            "precision": self.hardware.precision if attack else "float32",
        }
        passes = float(draws)
        if attack:
            spec |= {"threat": threat.resolved(), "attacker": attacker.resolved()}
            passes += attack.image_passes(attacker.stochastic)
        work = images * passes * _pixels(dataset.component)
        seeds = f" attack seed {seed}" if len(self.suite.seeds.attack) > 1 else ""
        text = f"{label} {name}{seeds}"
        components = [*model.components, *([attack] if attack else [])]
        keep = bool(attack) and evaluate.keep_images
        return self._job("attack", text, spec, components, model.job, work, keep)

    def _measure_job(
        self, label: str, dataset: Variant, architecture: Variant, defense: Variant, setting: Setting
    ) -> Job:
        data: Dataset = dataset.component
        measure = self.suite.measure
        spec = {
            "shape": list(data.shape),
            "num_classes": data.num_classes,
            "dataset": data.resolved(),
            "architecture": architecture.component.resolved(),
            "defense": defense.component.resolved(),
            "setting": setting.resolved(),
            "measure": measure.resolved(),
            "device": self.hardware.kind,
        }
        passes = (measure.repeats + measure.warmup) * (1 + measure.batch_size) if measure.latency else 1
        components = [architecture.component, defense.component]
        return self._job("measure", label, spec, components, work=passes * _pixels(data))

    def _job(
        self,
        kind: Literal["train", "attack", "measure"],
        label: str,
        spec: Mapping[str, Any],
        components: list[Component],
        needs: Job | None = None,
        work: float = 0.0,
        keep_images: bool = False,
    ) -> Job:
        identity = job_id(kind, spec)
        if identity not in self.jobs:
            classes = [base for one in components for base in type(one).__mro__ if base is not object]
            modules = [f"robuststack.engine.{kind}", *(base.__module__ for base in classes)]
            own = source_digest(modules, alone=["robuststack.engine.jobs"])
            # A retrained model makes its attack results stale, so a digest holds those of the jobs before it.
            digest = f"{own}.{needs.digest}" if needs else own
            required = (needs.id,) if needs else ()
            self.jobs[identity] = Job(identity, kind, label, spec, digest, required, work, keep_images)
        return self.jobs[identity]


def _pixels(dataset: Dataset) -> float:
    return float(dataset.shape[1] * dataset.shape[2])
