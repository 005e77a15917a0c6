"""From a suite to its plan: every name and option resolved, pure, quick, and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from robuststack.errors import did_you_mean
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.job_id import job_id
from robuststack.plan.plan import HEADLINE, Plan, RowPlan, Score
from robuststack.plan.source_digest import source_digest
from robuststack.plugin.attack import Attack
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.operating_point import Point, Scoring, Setting
from robuststack.plugin.registry import Registry
from robuststack.suite.part import Part
from robuststack.suite.resolve import Cell, Resolver
from robuststack.suite.suite import Suite
from robuststack.suite.variant import Variant, differing, shown_recipe, text

OWN_NETWORK = "own network"
MODULES = {"train": "train", "attack": "evaluate", "measure": "measure"}
"""The engine's module behind each kind of job."""


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
        resolver = Resolver(self.suite, self.registry)
        attacks = resolver.attacks()
        rows = [row for cell in resolver.cells(attacks) for row in self._rows(cell, attacks)]
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

    def _rows(self, cell: Cell, attacks: Mapping[str, Variant]) -> Iterator[RowPlan]:
        suite, defense, network = self.suite, cell.defense, cell.architecture
        # A model that is not trained has no training seeds.
        seeds = suite.seeds.train if cell.trains else [0]
        models = {seed: self._model(cell, seed) for seed in seeds}
        variant = [
            cell.dataset.named(suite.datasets),
            network.named(_siblings(cell, suite)) if network else OWN_NETWORK,
        ]
        several = {
            **({"eps": cell.threat.eps} if len(suite.threat) > 1 else {}),
            **shown_recipe(cell.training.recipe, differing(suite.train)),
        }
        for point in cell.points:
            described = text({**several, **point}, first=False)
            label = f"{'/'.join(variant)}/{defense.named(suite.defenses)} {described}".strip()
            facts = {
                "variant": variant,
                "dataset": cell.dataset.component.name,
                "dataset_options": {**cell.dataset.component.options.resolved(), **cell.dataset.made_up},
                "split": suite.evaluate.split,
                "architecture": network.component.name if network else None,
                "architecture_options": network.component.options.resolved() if network else {},
                "defense": defense.component.name,
                "undefended": defense.component.undefended,
                "options": defense.component.options.resolved(),
                "shown": {
                    **{key: value for key, value in defense.shown.items() if key not in defense.swept},
                    **defense.recipe(suite.defenses),
                    **several,
                },
                # The knobs, and the options swept by training one model for each value.
                "point": {**defense.swept, **point},
                "retrained": sorted(defense.swept),
                "threat": cell.threat.resolved(),
                "recipe": cell.recipe if cell.trains else None,
                "given": cell.given.as_written() if cell.given else None,
                "device": self.hardware.kind,
                "precision": self.hardware.precision,
            }
            yield self._row(label, facts, cell, point, models, attacks)

    def _row(
        self,
        label: str,
        facts: Mapping[str, Any],
        cell: Cell,
        point: Point,
        models: Mapping[int, _Model],
        attacks: Mapping[str, Variant],
    ) -> RowPlan:
        protocols = cell.defense.component.protocols(point)
        wanted = [one for one in self.suite.evaluate.protocols if one in protocols] or [HEADLINE]
        self.protocols.update(protocols)
        clean = {one: self._score(f"{label} clean", None, cell, protocols[one], models) for one in wanted}
        used = {one: self._as_scored(attacks, one, protocols[one]) for one in wanted}
        robust = {
            one: {
                name: self._score(f"{label} {name}", attack, cell, protocols[one], models)
                for name, attack in used[one].items()
            }
            for one in wanted
        }
        figures = {
            one: {
                name: attack.figures(cell.threat, protocols[one].attacker.stochastic) for name, attack in some.items()
            }
            for one, some in used.items()
        }
        headline = protocols[HEADLINE if HEADLINE in wanted else wanted[0]]
        measured = self._measure_job(label, cell, headline.victim)
        facts = {**facts, "stochastic": headline.victim.stochastic}
        train = {seed: model.id for seed, model in models.items() if model.job}
        return RowPlan(label, facts, train, measured.id, clean, robust, figures)

    def _as_scored(self, attacks: Mapping[str, Variant], protocol: str, scoring: Scoring) -> dict[str, Attack]:
        """The attacks by label, with the draws of the protocol where it says how many."""
        if scoring.draws is None or not scoring.attacker.stochastic:
            return {label: one.component for label, one in attacks.items()}
        used = {label: one.component.with_draws(scoring.draws) for label, one in attacks.items()}
        labels: dict[str, str] = {}
        for label, attack in used.items():
            same = labels.setdefault(job_id("attack", attack.resolved()), label)
            if same != label:
                message = (
                    f"protocol {protocol!r} sets draws to {scoring.draws}, so {same!r} and {label!r} are one attack"
                )
                raise self.suite.error(f"{message}; leave out one of them, or the protocol", "attacks")
        return used

    def _model(self, cell: Cell, seed: int) -> _Model:
        suite, dataset, defense = self.suite, cell.dataset.component, cell.defense.component
        model = _model_spec(cell)
        network = [cell.architecture.component] if cell.architecture else []
        if not cell.trains:
            return _Model(job_id("model", model), model, None, (dataset, defense, *network))
        recipe = cell.training.recipe
        spec = {
            **model,
            # The radius of training: one model can be attacked at several.
            "threat": cell.threat.model_copy(update={"eps": recipe.eps or cell.threat.eps}).resolved(),
            "recipe": cell.recipe,
            "seed": seed,
            "device": self.hardware.kind,
            "precision": self.hardware.precision,
        }
        parts = (
            (cell.dataset, suite.datasets),
            (cell.architecture, _siblings(cell, suite)),
            (cell.defense, suite.defenses),
        )
        label = "/".join(variant.named(siblings) for variant, siblings in parts if variant)
        label += f" seed {seed}" if len(suite.seeds.train) > 1 else ""
        images = dataset.size("train") // recipe.batch_size * recipe.batch_size * recipe.epochs
        work = images * defense.image_passes(cell.attack.steps) * _pixels(dataset)
        components = [dataset, *network, defense, cell.attack]
        job = self._job("train", label, spec, components, work=work)
        return _Model(job.id, spec, job, ())

    def _score(
        self, label: str, attack: Attack | None, cell: Cell, scoring: Scoring, models: Mapping[int, _Model]
    ) -> Score:
        victim = scoring.victim if attack else scoring.clean
        jobs = {
            (train_seed, attack_seed): self._attack_job(
                label, attack, cell, scoring.attacker, victim, model, attack_seed
            ).id
            for train_seed, model in models.items()
            for attack_seed in self.suite.seeds.attack
        }
        return Score(jobs, victim.stochastic)

    def _attack_job(
        self,
        label: str,
        attack: Attack | None,
        cell: Cell,
        attacker: Setting,
        victim: Setting,
        model: _Model,
        seed: int,
    ) -> Job:
        evaluate, dataset = self.suite.evaluate, cell.dataset.component
        draws = evaluate.draws if victim.stochastic else 1
        images = min(dataset.size(evaluate.split), evaluate.limit or 10**12)
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
            spec |= {"threat": cell.threat.resolved(), "attacker": attacker.resolved()}
            passes += attack.image_passes(attacker.stochastic)
        seeds = f" attack seed {seed}" if len(self.suite.seeds.attack) > 1 else ""
        components = [*model.components, *([attack] if attack else [])]
        keep = bool(attack) and evaluate.keep_images
        work = images * passes * _pixels(dataset)
        return self._job("attack", f"{label}{seeds}", spec, components, model.job, work, keep)

    def _measure_job(self, label: str, cell: Cell, setting: Setting) -> Job:
        data, measure = cell.dataset.component, self.suite.measure
        network = [cell.architecture.component] if cell.architecture else []
        spec = {
            **_model_spec(cell),
            "shape": list(data.shape),
            "num_classes": data.num_classes,
            "setting": setting.resolved(),
            "measure": measure.resolved(),
            "device": self.hardware.kind,
        }
        passes = (measure.repeats + measure.warmup) * (1 + measure.batch_size) if measure.latency else 1
        return self._job("measure", label, spec, [*network, cell.defense.component], work=passes * _pixels(data))

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
            modules = [f"robuststack.engine.{MODULES[kind]}", *(base.__module__ for base in classes)]
            own = source_digest(modules, alone=["robuststack.engine.jobs", "robuststack.engine.models"])
            # A retrained model makes its attack results stale, so a digest holds those of the jobs before it.
            digest = f"{own}.{needs.digest}" if needs else own
            required = (needs.id,) if needs else ()
            self.jobs[identity] = Job(identity, kind, label, spec, digest, required, work, keep_images)
        return self.jobs[identity]


def _siblings(cell: Cell, suite: Suite) -> Sequence[Part]:
    """The architectures that a cell's dataset is combined with."""
    return cell.dataset.part.architectures or suite.architectures


def _model_spec(cell: Cell) -> dict[str, Any]:
    """What a model is made of, before any training."""
    return {
        "dataset": cell.dataset.component.resolved(),
        "defense": cell.defense.component.resolved(),
        **({"architecture": cell.architecture.component.resolved()} if cell.architecture else {}),
        **({"given": cell.given.resolved()} if cell.given else {}),
    }


def _pixels(dataset: Dataset) -> float:
    return float(dataset.shape[1] * dataset.shape[2])
