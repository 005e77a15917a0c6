"""What of a plan the store holds already: the one place that knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robuststack.plan.job import IMAGES, LABELS, WEIGHTS, Job
from robuststack.plan.specs import JudgeSpec
from robuststack.running.store import Store


def look_up(jobs: Sequence[Job], store: Store) -> dict[str, dict[str, Any]]:
    """The stored results of the jobs of a plan, which come in its order.

    An attack job whose images are gone is done where all that judge them are.
    """
    results: dict[str, dict[str, Any]] = {}
    for job in jobs:
        images = job.kind == "attack" and images_wanted(job, jobs, store)
        result = stored(job, store, results, images=images)
        if result is not None:
            results[job.id] = result
    return results


def stored(
    job: Job, store: Store, results: Mapping[str, Mapping[str, Any]], *, images: bool = False
) -> dict[str, Any] | None:
    """The stored result of a job, if it is of this source code, of the very weights that its model has now, and of the
    images that there are now.

    `results` are those of the jobs before it. `images`: an attack job's images must be there. Of a job whose model a
    function returns, the executor knows.
    """
    if job.calls_function or not store.has(job.id, job.digest, also=(IMAGES,) if images else job.also):
        return None
    result = store.result(job.id)
    for need in job.needs:
        before = results.get(need)
        if before is None or not _same(before, result):
            return None
    return result


def _same(before: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether a result was made of what the job before it made."""
    if before["kind"] == "train":
        return bool(before["files"].get(WEIGHTS) == result.get("model_sha256"))
    if before["kind"] == "draws":
        return bool(before["draws"] == result.get("draws_from", {}).get(before["id"]))
    if before["kind"] == "judge":
        return bool(before["files"][LABELS] == result.get("labels_sha256", {}).get(before["id"]))
    return bool(before["images_sha256"] == result.get("images_sha256"))


def images_wanted(attack: Job, jobs: Sequence[Job], store: Store) -> bool:
    """Whether the images of an attack job are to be kept, or one of the plan's jobs has yet to judge them."""
    if attack.keep_images:
        return True
    known = store.result(attack.id).get("images_sha256") if store.has(attack.id, attack.digest) else None
    judges = [job for job in jobs if isinstance(job.spec, JudgeSpec) and job.spec.images == attack.id]
    return not all(
        store.has(job.id, job.digest) and store.result(job.id).get("images_sha256") == known for job in judges
    )
