"""What the jobs of a bundle say of each other: ids, weights, images and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from robuststack.plan.job import IMAGES, LABELS, Job
from robuststack.plan.job_id import ENGINE_REVISION, job_id
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, BlocksSpec, GameSpec, JudgeSpec

WEIGHTS = "model.safetensors"


def broken_links(plan: Plan, results: Mapping[str, Mapping[str, Any]], revision: int = ENGINE_REVISION) -> list[str]:
    """Where a job's id is not that of its specification, or where it used other weights, images, labels or draws than the
    job that made them came to; a line each. `revision` is that of the engine that made the ids."""
    lines = []
    for job in plan.jobs:
        result = results[job.id]
        if (revision == ENGINE_REVISION and job_id(job.kind, job.spec) != job.id) or result["id"] != job.id:
            lines.append(f"{job.id} is not the id of its specification")
        lines += [f"{job.id} used other {what} than {need} made" for what, need in _others(job, result, results)]
    return lines


def _others(job: Job, result: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    spec = job.spec
    if not isinstance(spec, BlocksSpec):
        return
    if spec.foreign is None and result["model_sha256"] != results[spec.model]["files"][WEIGHTS]:
        yield "weights", spec.model
    if isinstance(spec, JudgeSpec) and spec.images is not None:
        made = results[spec.images]
        if not result["images_sha256"] == made["images_sha256"] == made["files"][IMAGES]:
            yield "images", spec.images
    chosen = spec.draws_from if isinstance(spec, AttackSpec) else None
    if chosen is not None and result["draws_from"] != {chosen: results[chosen]["draws"]}:
        yield "draws", chosen
    if isinstance(spec, GameSpec):
        for judge in spec.judged:
            if result["labels_sha256"].get(judge) != results[judge]["files"][LABELS]:
                yield "labels", judge
