"""Jobs derived from those of a plan: a model of the plan attacked otherwise, other images judged on it, a probe of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from robuststack.plan.components import component, model_components
from robuststack.plan.job import Job
from robuststack.plan.job_digest import job_digest
from robuststack.plan.job_id import job_id
from robuststack.plan.passes import attack_passes
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, BlocksSpec, ComponentSpec, JudgeSpec, ModelSpec, ProbeSpec, TrainSpec
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry


class DerivedJobs:
    """Makes jobs beside those of a plan. Jobs that come to the same work are one job, the plan's own among them."""

    def __init__(self, plan: Plan, registry: Registry) -> None:
        self.registry = registry
        self.keep_images = plan.suite.evaluate.keep_images
        self.jobs: dict[str, Job] = dict(plan.by_id)
        self._components: dict[tuple[str, str], Any] = {}
        self._of_models: dict[tuple[str, str], Any] = {}

    def adopt(self, plan: Plan) -> None:
        """Take in the jobs of another plan, so that those derived here can need them."""
        self.jobs = {**plan.by_id, **self.jobs}

    def component(self, kind: str, spec: ComponentSpec) -> Any:
        """The component that a job wrote down, created once."""
        key = kind, spec.model_dump_json()
        if key not in self._components:
            self._components[key] = component(self.registry, kind, spec)
        return self._components[key]

    def model(self, spec: BlocksSpec) -> ModelSpec:
        """What the model of a job is made of."""
        if spec.foreign is not None:
            return spec.foreign
        trained = self.jobs[spec.model].spec
        assert isinstance(trained, TrainSpec)
        return trained.model

    def dataset(self, spec: BlocksSpec) -> Dataset:
        """The dataset of a job's images."""
        dataset: Dataset = self._of_model("dataset", spec)
        return dataset

    def defense(self, spec: BlocksSpec) -> Defense:
        """The defense of a job's model."""
        defense: Defense = self._of_model("defense", spec)
        return defense

    def _of_model(self, kind: str, spec: BlocksSpec) -> Any:
        """A component of a job's model, which its id names; it is looked up for every job."""
        key = kind, spec.model
        if key not in self._of_models:
            self._of_models[key] = self.component(kind, getattr(self.model(spec), kind))
        return self._of_models[key]

    def size(self, spec: BlocksSpec) -> int:
        """How many images a job takes."""
        return spec.selection.count(self.dataset(spec).size(spec.selection.split))

    def attack(self, spec: AttackSpec, label: str) -> Job:
        """The attack job of a specification; an attack that leaves its draws to a run takes those of `draws_from`, if the
        attacker's model draws noise."""
        attack = self.component("attack", spec.attack)
        if not (attack.chooses_draws and spec.draws_noise):
            spec = spec.model_copy(update={"draws_from": None, "draws_times": None})
        work = self._answer(spec) * attack_passes(attack, spec.draws_noise) * (spec.draws_times or 1)
        trained = self._trained(spec)
        draws = [self.jobs[spec.draws_from]] if spec.draws_from else []
        components = [*self._model_components(spec), attack]
        # The digest of the draws ends with that of their model.
        digest = job_digest(spec, components, draws or trained)
        return self._job(spec, label, digest, [*draws, *trained], work, work, keep=self.keep_images)

    def judge(self, spec: JudgeSpec, label: str) -> Job:
        """The judge job of a specification; the images may be those of an attack on another model."""
        trained = self._trained(spec)
        if spec.images is None:
            before = needs = trained
        else:
            images = self.jobs[spec.images]
            needs = [images, *trained]
            # The digest of an attack on this model ends with that of the model.
            before = [images] if isinstance(images.spec, AttackSpec) and images.spec.model == spec.model else needs
        digest = job_digest(spec, self._model_components(spec), before)
        return self._job(spec, label, digest, needs, self._answer(spec) * spec.draws)

    def probe(self, spec: ProbeSpec, label: str, answers: float, *, attacks: bool = False) -> Job:
        """The probe job of a specification; `answers` of the model are its work for each image, beside those of its attack
        if it `attacks`."""
        attack = [self.component("attack", spec.attack)] if spec.attack else []
        trained = self._trained(spec)
        draws = [self.jobs[spec.draws_from]] if spec.draws_from else []
        components = [*self._model_components(spec), *attack]
        digest = job_digest(spec, components, draws or trained)
        attacked = self._answer(spec) * attack_passes(attack[0], spec.draws_noise) if attacks else 0.0
        work = self._answer(spec) * answers + attacked
        return self._job(spec, label, digest, [*draws, *trained], work, attacked)

    def with_needs(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs and all that they need, each once, what is needed first."""
        ordered: dict[str, Job] = {}

        def add(job: Job) -> None:
            if job.id not in ordered:
                for need in job.needs:
                    add(self.jobs[need])
                ordered[job.id] = job

        for job in jobs:
            add(job)
        return list(ordered.values())

    def _trained(self, spec: BlocksSpec) -> list[Job]:
        return [] if spec.foreign is not None else [self.jobs[spec.model]]

    def _model_components(self, spec: BlocksSpec) -> list[Component]:
        return model_components(self.registry, spec.foreign) if spec.foreign is not None else []

    def _answer(self, spec: BlocksSpec) -> float:
        """The work of one answer of the job's model for each of the job's images."""
        _, height, width = self.dataset(spec).shape
        return float(self.size(spec) * self.defense(spec).forward_passes(spec.setting) * height * width)

    def _job(
        self,
        spec: AttackSpec | JudgeSpec | ProbeSpec,
        label: str,
        digest: str,
        needs: Iterable[Job],
        work: float,
        attack_work: float = 0.0,
        *,
        keep: bool = False,
    ) -> Job:
        identity = job_id(spec.kind, spec)
        if identity not in self.jobs:
            required = tuple(need.id for need in needs)
            self.jobs[identity] = Job(identity, label, spec, digest, required, work, attack_work, keep)
        return self.jobs[identity]
