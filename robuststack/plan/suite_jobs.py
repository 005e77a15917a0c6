"""The jobs that a suite asks for, made from its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robuststack.errors import SuiteError
from robuststack.evidence.draws import CAP, IMAGES, levels
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.job_digest import job_digest
from robuststack.plan.job_id import job_id
from robuststack.plan.passes import GUESSED_DRAWS, attack_passes, training_passes
from robuststack.plan.specs import (
    AttackSpec,
    ComponentSpec,
    DrawsSpec,
    ImageSelection,
    JobSpec,
    JudgeSpec,
    MeasureSpec,
    ModelSpec,
    TrainSpec,
    UserModelSpec,
)
from robuststack.plugin.attack import Attack
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.operating_point import Setting
from robuststack.suite.cell import Cell
from robuststack.suite.part import Part
from robuststack.suite.phases import planned_phases
from robuststack.suite.suite import Suite

MOST_JOBS = 50_000
"""Of a suite. Planning that many takes a minute, and running them months."""
SMOKE_CAP = 4
"""The most draws that are tried on made-up images."""


@dataclass(frozen=True)
class ScoredModel:
    """What is attacked and judged: the model of a train job or, if a defense does not train, the one it loads."""

    id: str
    spec: ModelSpec
    job: Job | None
    components: tuple[Component, ...]


class SuiteJobs:
    """Makes the jobs of a suite. Jobs that come to the same work are one job."""

    def __init__(self, suite: Suite, hardware: Hardware) -> None:
        self.suite = suite
        self.hardware = hardware
        self.jobs: dict[str, Job] = {}
        self.images: dict[str, str] = {}
        """Judge job -> the attack job whose images it judges."""

    def model(self, cell: Cell, seed: int) -> ScoredModel:
        """The model of a training seed."""
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
            (cell.architecture, siblings(cell, suite)),
            (cell.defense, suite.defenses),
        )
        label = "/".join(variant.named(others) for variant, others in parts if variant)
        label += f" seed {seed}" if len(suite.seeds.train) > 1 else ""
        phases = planned_phases(defense, recipe)
        passes = [training_passes(planned, dataset, cell.attack) for planned in phases]
        work, attacked = (sum(column) * _pixels(dataset) for column in zip(*passes, strict=True))
        trainers = [planned.phase.trainer for planned in phases if planned.phase.trainer is not defense]
        components = [dataset, *network, defense, *trainers, cell.attack]
        job = self.job(label, spec, components, work=work, attack_work=attacked)
        return ScoredModel(job.id, model, job, ())

    def attack(
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
        """The images that an attack makes of the model under the setting `attacker`, or of a baked draw of it."""
        draws = self._draws(label, attack, cell, attacker, model, seed, bake)
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
        work = self.work(cell, attacker, attack_passes(attack, spec.draws_noise))
        trained = [model.job] if model.job else []
        # The digest of the draws ends with that of their model.
        needs, before = ([draws, *trained], [draws]) if draws else (trained, trained)
        keep = self.suite.evaluate.keep_images
        return self.job(label, spec, [*model.components, attack], needs, before, work, work, keep)

    def _draws(
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
        work = self.work(cell, attacker, passes) * min(images, IMAGES) / images
        trained = [model.job] if model.job else []
        return self.job(f"{label} draws", spec, [*model.components, attack], trained, trained, work, work)

    def judge(
        self,
        label: str,
        images: Job | None,
        cell: Cell,
        victim: Setting,
        model: ScoredModel,
        seed: int,
        bake: int | None = None,
    ) -> Job:
        """What the model under the setting `victim`, or a baked draw of it, says of the images; None: of the clean ones."""
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
        work = self.work(cell, victim, draws)
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

    def work(self, cell: Cell, setting: Setting, answers: float) -> float:
        """The work of so many answers at a setting for each image that is scored."""
        evaluate, dataset = self.suite.evaluate, cell.dataset.component
        passes = answers * cell.defense.component.forward_passes(setting)
        return float(ImageSelection.of(evaluate).count(dataset.size(evaluate.split)) * passes * _pixels(dataset))

    def measure(self, label: str, cell: Cell, setting: Setting) -> Job:
        """The counts and times of the model under a setting."""
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
        answers = (measure.repeats + measure.warmup) * (1 + measure.batch_size) if measure.latency else 1
        work = answers * cell.defense.component.forward_passes(setting) * _pixels(data)
        return self.job(label, spec, [*network, cell.defense.component], work=work)

    def job(
        self,
        label: str,
        spec: JobSpec,
        components: Sequence[Component],
        needs: Sequence[Job] = (),
        before: Sequence[Job] = (),
        work: float = 0.0,
        attack_work: float = 0.0,
        keep_images: bool = False,
    ) -> Job:
        """The job of a specification. `before` are the jobs it needs whose digests its own has to hold."""
        identity = job_id(spec.kind, spec)
        if identity not in self.jobs:
            if len(self.jobs) == MOST_JOBS:
                message = f"the suite asks for more than {MOST_JOBS:,} jobs; give it fewer seeds, points or sweeps"
                raise SuiteError(f"{self.suite.file}: {message}")
            timed = isinstance(spec, MeasureSpec) and spec.measure.latency and spec.device == "cpu"
            digest = job_digest(spec, components, before, threads=self.hardware.threads if timed else None)
            required = tuple(need.id for need in needs)
            self.jobs[identity] = Job(identity, label, spec, digest, required, work, attack_work, keep_images)
        return self.jobs[identity]


def siblings(cell: Cell, suite: Suite) -> Sequence[Part]:
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
