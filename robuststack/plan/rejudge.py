"""The images of a stored attack job, to be judged anew: what `robuststack rejudge` plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robuststack import hardware
from robuststack.errors import RobustStackError, StoreError
from robuststack.plan.components import component, model_components
from robuststack.plan.job import IMAGES, WEIGHTS, Job
from robuststack.plan.job_digest import job_digest
from robuststack.plan.job_id import job_id
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, JudgeSpec, ModelSpec, TrainSpec, parse_spec
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.parts import AttackPart, DatasetPart, DefensePart
from robuststack.suite.suite import Evaluate, Suite


@dataclass(frozen=True)
class Rejudging:
    """A plan that ends with the judging, and which of its jobs is what."""

    plan: Plan
    attack: Job
    """The stored attack job, as the user named it or the judge job that he named."""
    reference: str | None
    """The stored judge job that its images are held against."""
    judged: Job
    unrounded: Job | None
    """The same judging of the same images before they were rounded to 8 bits."""
    to_the_end: Job | None
    """The attack job that is judged in its place: images that were done once they fooled their own point would flatter
    another, and rounding."""
    point: dict[str, Any] | None
    """The other operating point, whole."""


def plan_rejudging(
    store: Store,
    registry: Registry,
    job: str,
    *,
    point: Mapping[str, Any] | None = None,
    draws: int | None = None,
    seed: int = 0,
    eight_bit: bool = False,
    device: str = "auto",
) -> Rejudging:
    """Plan to judge the images of `job`, an attack job, a judge job of its images, or an unambiguous beginning of either
    id, on the setting that they were judged on, or on `point`.

    Randomised points are judged on `draws` noise draws (default: as many as before) of a stream that no attack and no other
    judging uses; `seed` chooses among such streams. `eight_bit` rounds the images to multiples of 1/255 first.

    Raises:
        StoreError: no such job, or a model that was trained again since.
        RobustStackError: the job has no adversarial images, or the defense has no such point.
    """
    attack_id, reference = _named(store, store.find(job))
    result = store.result(attack_id)
    spec = parse_spec(result)
    assert isinstance(spec, AttackSpec)
    trained, model = _trained(store, spec, result)
    defense: Defense = component(registry, "defense", model.defense)
    scored_before = reference[1] if reference else spec
    setting, bake = scored_before.setting, scored_before.bake
    if point is not None:
        point = defense.whole_point(point)
        setting, bake = defense.setting(point), None
    draws_noise = setting.stochastic and bake is None
    if not draws_noise:
        draws = 1
    elif draws is None:
        draws = reference[1].draws if reference and reference[1].draws_noise else Evaluate().judging_draws

    scored = model_components(registry, spec.foreign) if spec.foreign else []
    components = [*scored, component(registry, "attack", spec.attack)]
    before = [trained] if trained else []
    needed = before
    if spec.draws_from:
        # The digest of the draws ends with that of their model.
        before = [_draws_job(store, spec.draws_from, needed)]
        needed = [*needed, *before]
    needs = tuple(need.id for need in needed)
    # Images that are there are those of the code that made them.
    now = job_digest(spec, components, before)
    attack = Job(attack_id, result["label"], spec, result["digest"] if IMAGES in result["files"] else now, needs,
                 keep_images=True)  # fmt: skip
    crafted, computing = attack, hardware.resolve(device, spec.precision)
    if spec.early_stop and ((setting, bake) != (spec.setting, spec.bake) or eight_bit):
        whole = spec.model_copy(update={"early_stop": False})
        crafted = Job(job_id("attack", whole), result["label"], whole, now, needs, keep_images=True)
        if computing.kind != spec.device:
            raise RobustStackError(
                f"{attack_id} stopped where its own point was fooled and has to be run to the end for this: on"
                f" {spec.device}, where it was made; --device {spec.device}"
            )

    def judging(rounded: bool) -> Job:
        judge = JudgeSpec(
            **{name: getattr(spec, name) for name in ("model", "foreign", "selection", "block")},
            device=computing.kind,
            setting=setting,
            bake=bake,
            seed=seed if draws_noise else 0,
            stream="rejudge" if draws_noise else "judge",
            images=crafted.id,
            eight_bit=rounded,
            draws=draws,
        )
        digest = job_digest(judge, scored, [crafted])
        return Job(
            job_id("judge", judge), result["label"], judge, digest, (crafted.id, *([trained.id] if trained else []))
        )

    judged, unrounded = judging(eight_bit), judging(False) if eight_bit else None
    jobs = (*needed, crafted, *([unrounded] if unrounded else []), judged)
    suite = Suite(
        name="rejudge",
        datasets=[DatasetPart(name=model.dataset.name)],
        defenses=[DefensePart(name=model.defense.name)],
        attacks=[AttackPart(name=spec.attack.name)],
    )
    plan = Plan(suite, computing, jobs, (), {}, by_id={planned.id: planned for planned in jobs})
    to_the_end = crafted if crafted is not attack else None
    return Rejudging(plan, attack, reference[0] if reference else None, judged, unrounded, to_the_end,
                     dict(point) if point is not None else None)  # fmt: skip


def _named(store: Store, job: str) -> tuple[str, tuple[str, JudgeSpec] | None]:
    """The attack job that is meant, and the judge job that scored it."""
    spec = parse_spec(store.result(job))
    if isinstance(spec, JudgeSpec) and spec.images:
        return spec.images, (job, spec)
    if not isinstance(spec, AttackSpec):
        kind = "judges clean images" if isinstance(spec, JudgeSpec) else f"is a job of kind {spec.kind}"
        raise RobustStackError(f"{job} {kind}; name a job that attacks, or one that judges its images")
    judges = [(result["id"], parse_spec(result)) for result in store.finished("judge")]
    scored = [
        (judge, other)
        for judge, other in judges
        if isinstance(other, JudgeSpec) and (other.images, other.stream, other.eight_bit) == (job, "judge", False)
    ]
    # First the point that it was made for.
    scored.sort(key=lambda judge: (judge[1].setting, judge[1].bake) != (spec.setting, spec.bake))
    return job, scored[0] if scored else None


def _trained(store: Store, spec: AttackSpec, result: Mapping[str, Any]) -> tuple[Job | None, ModelSpec]:
    """The train job behind an attack job, if there is one, and what the model is made of."""
    if spec.foreign is not None:
        return None, spec.foreign
    made = store.result(spec.model)
    if made["files"][WEIGHTS] != result["model_sha256"]:
        raise StoreError(f"{spec.model} has been trained again since {result['id']} attacked it; run the suite again")
    trained = parse_spec(made)
    assert isinstance(trained, TrainSpec)
    return Job(spec.model, made["label"], trained, made["digest"]), trained.model


def _draws_job(store: Store, job: str, needs: Sequence[Job]) -> Job:
    """The stored job that chose an attack's draws."""
    result = store.result(job)
    return Job(job, result["label"], parse_spec(result), result["digest"], tuple(need.id for need in needs))
