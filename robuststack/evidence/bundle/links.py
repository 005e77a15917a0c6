"""What the jobs of a bundle say of each other: ids, weights, images and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from robuststack.plan.job import IMAGES, Job
from robuststack.plan.job_id import ENGINE_REVISION, job_id
from robuststack.plan.plan import Plan
from robuststack.plan.specs import BlocksSpec, JudgeSpec
from robuststack.running.blocks import stored_basis
from robuststack.running.job_store import JobStore


def broken_links(plan: Plan, jobs: JobStore, revision: int = ENGINE_REVISION) -> list[str]:
    """Where a job's id is not that of its specification, or where it used other weights, images, labels or draws than the
    job that made them came to; a line each. `revision` is that of the engine that made the ids."""
    lines = []
    for job in plan.jobs:
        result = jobs.result(job.id)
        if (revision == ENGINE_REVISION and job_id(job.kind, job.spec) != job.id) or result["id"] != job.id:
            lines.append(f"{job.id} is not the id of its specification")
        lines += [f"{job.id} used other {what} than {need} made" for what, need in _others(job, result, jobs)]
    return lines


def _others(job: Job, result: Mapping[str, Any], jobs: JobStore) -> Iterator[tuple[str, str]]:
    spec = job.spec
    if not isinstance(spec, BlocksSpec):
        return
    basis = stored_basis(spec, jobs)
    # Of a model that no job trained, a function's say, there are no weights to compare.
    if spec.foreign is None and result["model_sha256"] != basis["model_sha256"]:
        yield "weights", spec.model
    images = spec.images if isinstance(spec, JudgeSpec) else None
    # The images of an audit's attacks may be gone by now.
    made = jobs.result(images)["files"].get(IMAGES, basis["images_sha256"]) if images else None
    if images and not result["images_sha256"] == basis["images_sha256"] == made:
        yield "images", images
    for key, what in (("draws_from", "draws"), ("labels_sha256", "labels")):
        made = basis.get(key, {})
        yield from ((what, need) for need, value in made.items() if result[key].get(need) != value)
