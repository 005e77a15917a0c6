"""What of a plan the store holds already: the one place that knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robuststack.plan.job import IMAGES, LABELS, WEIGHTS, Job
from robuststack.plan.specs import JudgeSpec
from robuststack.running.store import Store


def look_up(jobs: Sequence[Job], store: Store) -> dict[str, dict[str, Any]]:
    """The stored results of the jobs of a plan, which come in its order.

    An attack job whose images are gone is done where all that judge them are.
    """
    kept = _Kept(store)
    judges = judges_by_images(jobs)
    results: dict[str, dict[str, Any]] = {}
    for job in jobs:
        images = job.kind == "attack" and _images_wanted(job, judges.get(job.id, ()), kept)
        result = _stored(job, kept, results, images=images)
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
    return _stored(job, _Kept(store), results, images=images)


def images_wanted(attack: Job, jobs: Sequence[Job], store: Store) -> bool:
    """Whether the images of an attack job are to be kept, or one of the plan's jobs has yet to judge them."""
    return _images_wanted(attack, judges_by_images(jobs).get(attack.id, ()), _Kept(store))


def judges_by_images(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """Attack job -> the judge jobs of its images."""
    judges: dict[str, list[Job]] = {}
    for job in jobs:
        if isinstance(job.spec, JudgeSpec) and job.spec.images:
            judges.setdefault(job.spec.images, []).append(job)
    return judges


class _Kept:
    """The results that a store holds now, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._results: dict[tuple[str, str], dict[str, Any] | None] = {}

    def done(self, job: Job) -> dict[str, Any] | None:
        """The result of a job that is done by this source code, with the files that it says; None if it is not."""
        key = job.id, job.digest
        if key not in self._results:
            self._results[key] = self._store.done(*key)
        return self._results[key]


def _stored(job: Job, kept: _Kept, results: Mapping[str, Mapping[str, Any]], *, images: bool) -> dict[str, Any] | None:
    result = None if job.calls_function else kept.done(job)
    if result is None or not all(name in result.get("files", {}) for name in ((IMAGES,) if images else job.also)):
        return None
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


def _images_wanted(attack: Job, judges: Iterable[Job], kept: _Kept) -> bool:
    if attack.keep_images:
        return True
    known = (kept.done(attack) or {}).get("images_sha256")
    results = [kept.done(job) for job in judges]
    return not all(result is not None and result.get("images_sha256") == known for result in results)
