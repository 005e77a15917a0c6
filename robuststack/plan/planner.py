"""From a suite to its plan: every name and option resolved, pure, quick, and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robuststack.evidence.draws import CAP, IMAGES, levels
from robuststack.hardware import Hardware
from robuststack.plan.games import ScoredModel, plan_games
from robuststack.plan.job import Job
from robuststack.plan.job_digest import job_digest
from robuststack.plan.job_id import job_id
from robuststack.plan.passes import GUESSED_DRAWS, attack_passes, training_passes
from robuststack.plan.plan import GamePlan, Plan, RowPlan, RunKey, Score
from robuststack.plan.protocols import Protocols
from robuststack.plan.specs import (
    AttackSpec,
    BlocksSpec,
    ComponentSpec,
    DrawsSpec,
    ImageSelection,
    JobSpec,
    JudgeSpec,
    MeasureSpec,
    ModelSpec,
    TrainSpec,
    UserModelSpec,
    effective_early_stop,
)
from robuststack.plugin.attack import Attack
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.operating_point import Point, Scoring, Setting
from robuststack.plugin.registry import Registry
from robuststack.suite.part import Part
from robuststack.suite.phases import planned_phases
from robuststack.suite.resolve import Cell, Resolver
from robuststack.suite.suite import Suite
from robuststack.suite.variant import Variant, differing, shown_recipe
from robuststack.wording import options_text

OWN_NETWORK = "own network"
SMOKE_CAP = 4
"""The most draws that are tried on made-up images."""


def make_plan(suite: Suite, registry: Registry, hardware: Hardware) -> Plan:
    """Resolve every name and option of `suite` and lay out its jobs.

    Raises:
        SuiteError: with file and line, for anything that could not run: it is found before any compute.
    """
    return _Planner(suite, registry, hardware).plan()


class _Planner:
    def __init__(self, suite: Suite, registry: Registry, hardware: Hardware) -> None:
        self.suite = suite
        self.registry = registry
        self.hardware = hardware
        self.jobs: dict[str, Job] = {}
        self.images: dict[str, str] = {}
        self.protocols = Protocols(suite)

    def plan(self) -> Plan:
        resolver = Resolver(self.suite, self.registry)
        wanted = resolver.attacks()
        attacks = {label: variant for label, variant in wanted.items() if not variant.component.natural}
        shifts = {label: variant.component for label, variant in wanted.items() if variant.component.natural}
        rows: list[RowPlan] = []
        games: list[GamePlan] = []
        for cell in resolver.cells(wanted):
            models = self._models(cell)
            of_cell = list(self._rows(cell, models, attacks, shifts))
            rows += of_cell
            if self.suite.evaluate.game:
                games += plan_games(cell, of_cell, models, attacks, self)
        if self.suite.evaluate.game and not games:
            message = "game: no defense here has two settings of one model; give a tunable one several `points:`"
            raise self.suite.error(message, "evaluate", "game")
        self.protocols.refuse()
        duplicate = next((row for row in rows if sum(other.label == row.label for other in rows) > 1), None)
        if duplicate:
            raise self.suite.error(f"two rows would be the same: {duplicate.label}")
        # Models are trained and attacked one after another, so that each is loaded once; timings come last, when
        # nothing else is going on.
        jobs = sorted(self.jobs.values(), key=lambda job: job.kind == "measure")
        printed = {
            label: {"name": attack.component.name, "options": attack.component.options.resolved()}
            for label, attack in attacks.items()
        }
        by_id = {job.id: job for job in jobs}
        return Plan(self.suite, self.hardware, tuple(jobs), tuple(rows), printed, by_id=by_id, games=tuple(games))

    def _models(self, cell: Cell) -> dict[int, ScoredModel]:
        """The model of each training seed; a model that is not trained has one."""
        return {seed: self._model(cell, seed) for seed in (self.suite.seeds.train if cell.trains else [0])}

    def _rows(
        self,
        cell: Cell,
        models: Mapping[int, ScoredModel],
        attacks: Mapping[str, Variant],
        shifts: Mapping[str, Attack],
    ) -> Iterator[RowPlan]:
        suite, defense, network = self.suite, cell.defense, cell.architecture
        variant = [
            cell.dataset.named(suite.datasets),
            network.named(_siblings(cell, suite)) if network else OWN_NETWORK,
        ]
        several = {
            **({"norm": cell.threat.norm} if len({threat.norm for threat in suite.threat}) > 1 else {}),
            **({"eps": cell.threat.eps} if len(suite.threat) > 1 else {}),
            **shown_recipe(cell.training.recipe, differing(suite.train)),
        }
        for point in cell.points:
            described = options_text({**several, **point})
            label = f"{'/'.join(variant)}/{defense.named(suite.defenses)} {described}".strip()
            facts = {
                "variant": variant,
                "dataset": cell.dataset.component.name,
                "dataset_options": {**cell.dataset.component.options.resolved(), **cell.dataset.made_up},
                "dataset_notes": list(cell.dataset.component.notes),
                "classes": list(cell.dataset.component.classes),
                "split": suite.evaluate.split,
                "limit": suite.evaluate.limit,
                "limit_rule": suite.evaluate.limit_rule if suite.evaluate.limit is not None else None,
                "block": suite.evaluate.block,
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
                "user_model": cell.user_model.as_written() if cell.user_model else None,
                "device": self.hardware.kind,
                "precision": self.hardware.precision,
            }
            yield self._row(label, facts, cell, point, models, attacks, shifts)

    def _row(
        self,
        label: str,
        facts: Mapping[str, Any],
        cell: Cell,
        point: Point,
        models: Mapping[int, ScoredModel],
        attacks: Mapping[str, Variant],
        shifts: Mapping[str, Attack],
    ) -> RowPlan:
        scored = self.protocols.of(cell, point)
        scorings = scored.scorings
        clean = {
            protocol: self._score(f"{label} clean", None, cell, scoring, models)
            for protocol, scoring in scorings.items()
        }
        used = {protocol: self.protocols.attacks(attacks, protocol, scoring) for protocol, scoring in scorings.items()}
        robust = {
            protocol: {
                name: self._score(f"{label} {name}", attack, cell, scoring, models)
                for name, attack in used[protocol].items()
            }
            for protocol, scoring in scorings.items()
        }
        figures = {
            protocol: {
                name: attack.figures(cell.threat, scoring.attacker_draws_noise)
                for name, attack in used[protocol].items()
            }
            for protocol, scoring in scorings.items()
        }
        shift = {
            name: self._score(f"{label} {name}", attack, cell, scored.headline, models)
            for name, attack in shifts.items()
        }
        measured = self._measure_job(label, cell, scored.headline.victim)
        facts = {
            **facts,
            "stochastic": scored.headline.victim_draws_noise,
            "inapplicable": dict(scored.inapplicable),
        }
        train = {seed: model.id for seed, model in models.items() if model.job}
        images_of = [score for scores in robust.values() for score in scores.values()] + list(shift.values())
        judged = [job for score in images_of for job in score.jobs.values()]
        images = {job: self.images[job] for job in judged}
        return RowPlan(label, facts, train, measured.id, clean, robust, figures, images, shift)

    def _model(self, cell: Cell, seed: int) -> ScoredModel:
        suite, dataset, defense = self.suite, cell.dataset.component, cell.defense.component
        model = _model_spec(cell)
        network = [cell.architecture.component] if cell.architecture else []
        if not cell.trains:
            return ScoredModel(job_id("model", model), model, None, (dataset, defense, *network))
        recipe = cell.training.recipe
        spec = TrainSpec(
            model=model,
            # The radius of training: one model can be attacked at several.
            threat=cell.threat.model_copy(update={"eps": recipe.eps or cell.threat.eps}),
            recipe=recipe,
            attack=ComponentSpec.of(cell.attack),
            seed=seed,
            device=self.hardware.kind,
            precision=self.hardware.precision,
        )
        parts = (
            (cell.dataset, suite.datasets),
            (cell.architecture, _siblings(cell, suite)),
            (cell.defense, suite.defenses),
        )
        label = "/".join(variant.named(siblings) for variant, siblings in parts if variant)
        label += f" seed {seed}" if len(suite.seeds.train) > 1 else ""
        phases = planned_phases(defense, recipe)
        work = sum(training_passes(planned, dataset, cell.attack) for planned in phases) * _pixels(dataset)
        trainers = [planned.phase.trainer for planned in phases if planned.phase.trainer is not defense]
        job = self.job(label, spec, [dataset, *network, defense, *trainers, cell.attack], work=work)
        return ScoredModel(job.id, model, job, ())

    def _score(
        self, label: str, attack: Attack | None, cell: Cell, scoring: Scoring, models: Mapping[int, ScoredModel]
    ) -> Score:
        victim = scoring.victim if attack else scoring.clean
        baked = scoring.victim_baked
        jobs: dict[RunKey, str] = {}
        for train_seed, model in models.items():
            for seed in self.suite.seeds.attack:
                of_seed = f"{label} attack seed {seed}" if len(self.suite.seeds.attack) > 1 else label
                for bake in _bakes(scoring, seed):
                    run = f"{of_seed} bake {bake}" if bake is not None and (attack or baked) else of_seed
                    images = None
                    if attack:
                        early_stop = effective_early_stop(attack.early_stop, scoring.attacker, victim, baked=baked)
                        images = self.attack_job(run, attack, cell, scoring.attacker, model, seed, early_stop, bake)
                    judged = self.judge_job(run, images, cell, victim, model, seed, bake if baked else None)
                    jobs[(train_seed, seed) if bake is None else (train_seed, seed, bake)] = judged.id
        return Score(jobs, victim.stochastic and not baked)

    def attack_job(
        self,
        label: str,
        attack: Attack,
        cell: Cell,
        attacker: Setting,
        model: ScoredModel,
        seed: int,
        early_stop: bool,
        bake: int | None = None,
    ) -> Job:
        draws = self.draws_job(label, attack, cell, attacker, model, seed, bake)
        spec = AttackSpec(
            **self.scored(cell, model),
            setting=attacker,
            bake=bake,
            seed=seed,
            attack=ComponentSpec.of(attack),
            threat=cell.threat,
            precision=self.hardware.precision,
            early_stop=early_stop,
            draws_from=draws.id if draws else None,
        )
        answer = cell.defense.component.forward_passes(attacker)
        work = self.work(cell, answer * attack_passes(attack, spec.draws_noise))
        trained = [model.job] if model.job else []
        # The digest of the draws ends with that of their model.
        needs, before = ([draws, *trained], [draws]) if draws else (trained, trained)
        keep = self.suite.evaluate.keep_images
        return self.job(label, spec, [*model.components, attack], needs, before, work, keep)

    def draws_job(
        self, label: str, attack: Attack, cell: Cell, attacker: Setting, model: ScoredModel, seed: int, bake: int | None
    ) -> Job | None:
        """The job that chooses the attack's draws at a randomised setting; None if they are known."""
        if not (attack.chooses_draws and attacker.stochastic and bake is None):
            return None
        evaluate = self.suite.evaluate
        scored = self.scored(cell, model)
        selection: ImageSelection = scored["selection"]
        images = selection.count(cell.dataset.component.size(evaluate.split))
        cap = SMOKE_CAP if cell.dataset.made_up else CAP
        spec = DrawsSpec(
            **{**scored, "selection": selection.sampled(IMAGES) if images > IMAGES else selection},
            setting=attacker,
            seed=seed,
            attack=ComponentSpec.of(attack),
            threat=cell.threat,
            precision=self.hardware.precision,
            judged=evaluate.judging_draws,
            cap=cap,
        )
        passes = sum(attack.with_draws(draws).image_passes(True) for draws in levels(4 * GUESSED_DRAWS))
        work = self.work(cell, passes) * min(images, IMAGES) / images
        trained = [model.job] if model.job else []
        return self.job(f"{label} draws", spec, [*model.components, attack], trained, trained, work)

    def judge_job(
        self,
        label: str,
        images: Job | None,
        cell: Cell,
        victim: Setting,
        model: ScoredModel,
        seed: int,
        bake: int | None = None,
    ) -> Job:
        draws_noise = victim.stochastic and bake is None
        draws = self.suite.evaluate.judging_draws if draws_noise else 1
        spec = JudgeSpec(
            **self.scored(cell, model),
            setting=victim,
            bake=bake,
            # What draws no noise depends on no seed.
            seed=seed if draws_noise else 0,
            images=images.id if images else None,
            draws=draws,
        )
        trained = [model.job] if model.job else []
        needs = [*([images] if images else []), *trained]
        # The digest of the images ends with that of their model.
        before = [images] if images else trained
        work = self.work(cell, draws * cell.defense.component.forward_passes(victim))
        job = self.job(label, spec, model.components, needs, before, work)
        if images:
            self.images[job.id] = images.id
        return job

    def scored(self, cell: Cell, model: ScoredModel) -> dict[str, Any]:
        """What attack and judge specifications share."""
        evaluate = self.suite.evaluate
        return {
            "model": model.id,
            "foreign": None if model.job else model.spec,
            "selection": ImageSelection.of(evaluate),
            "block": evaluate.block,
            "device": self.hardware.kind,
        }

    def work(self, cell: Cell, passes: float) -> float:
        """The work of so many forward passes of each image that is scored."""
        evaluate, dataset = self.suite.evaluate, cell.dataset.component
        return ImageSelection.of(evaluate).count(dataset.size(evaluate.split)) * passes * _pixels(dataset)

    def _measure_job(self, label: str, cell: Cell, setting: Setting) -> Job:
        data, measure = cell.dataset.component, self.suite.measure
        network = [cell.architecture.component] if cell.architecture else []
        spec = MeasureSpec(
            model=_model_spec(cell),
            shape=data.shape,
            num_classes=data.num_classes,
            setting=setting,
            measure=measure,
            device=self.hardware.kind,
        )
        passes = (measure.repeats + measure.warmup) * (1 + measure.batch_size) if measure.latency else 1
        return self.job(label, spec, [*network, cell.defense.component], work=passes * _pixels(data))

    def job(
        self,
        label: str,
        spec: JobSpec,
        components: Sequence[Component],
        needs: Sequence[Job] = (),
        before: Sequence[Job] = (),
        work: float = 0.0,
        keep_images: bool = False,
    ) -> Job:
        """The job of a specification. `before` are the jobs it needs whose digests its own has to hold."""
        identity = job_id(spec.kind, spec)
        if identity not in self.jobs:
            baked = isinstance(spec, BlocksSpec) and spec.bake is not None
            digest = job_digest(spec.kind, components, before, baked=baked)
            required = tuple(need.id for need in needs)
            self.jobs[identity] = Job(identity, label, spec, digest, required, work, keep_images)
        return self.jobs[identity]


def _bakes(scoring: Scoring, seed: int) -> Sequence[int | None]:
    """The numbers of the baked draws that stand for the model at an attack seed, others at every seed; None alone if the
    model draws its noise afresh."""
    return [seed * scoring.bakes + number for number in range(scoring.bakes)] or [None]


def _siblings(cell: Cell, suite: Suite) -> Sequence[Part]:
    """The architectures that a cell's dataset is combined with."""
    return cell.dataset.part.architectures or suite.architectures


def _model_spec(cell: Cell) -> ModelSpec:
    """What a model is made of, before any training."""
    return ModelSpec(
        dataset=ComponentSpec.of(cell.dataset.component),
        defense=ComponentSpec.of(cell.defense.component),
        architecture=ComponentSpec.of(cell.architecture.component) if cell.architecture else None,
        user_model=UserModelSpec.of(cell.user_model) if cell.user_model else None,
    )


def _pixels(dataset: Dataset) -> float:
    return float(dataset.shape[1] * dataset.shape[2])
