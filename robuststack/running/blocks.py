"""What is known of a job's blocks without computing any: what they are made of, and how many images each has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robuststack.plan.job import LABELS, WEIGHTS, Job
from robuststack.plan.specs import AttackSpec, BlocksSpec, GameSpec, JudgeSpec, ProbeSpec
from robuststack.running.job_store import JobStore

LONG_SECONDS = 300.0
"""A block that takes longer is warned of: a kill loses it."""


def stored_basis(spec: BlocksSpec, store: JobStore) -> dict[str, Any]:
    """What, beside its specification and source code, decides what a job comes to, as far as the store knows: the hashes of
    the weights that it scores, of the images that it judges and of the labels that a game reads, and the draws that were
    chosen for its attacks.

    Raises:
        StoreError: a job that it needs is not done.
    """
    trained = None if spec.foreign is not None else store.result(spec.model)
    known: dict[str, Any] = {"model_sha256": trained["files"][WEIGHTS] if trained else None}
    if isinstance(spec, JudgeSpec) and spec.images:
        known["images_sha256"] = store.result(spec.images)["images_sha256"]
    chosen = _draws_from(spec)
    if chosen:
        known["draws_from"] = {probe: store.result(probe)["draws"] for probe in chosen}
    if isinstance(spec, GameSpec):
        known["labels_sha256"] = {judge: store.result(judge)["files"][LABELS] for judge in spec.judged}
    return known


def _draws_from(spec: BlocksSpec) -> list[str]:
    """The jobs that choose how many draws its attacks average over, each once."""
    if isinstance(spec, GameSpec):
        return list(dict.fromkeys(row.draws_from for row in spec.rows if row.draws_from))
    return [spec.draws_from] if isinstance(spec, AttackSpec | ProbeSpec) and spec.draws_from else []


def sizes(spec: BlocksSpec, count: int) -> list[int]:
    """How many images each block of a job on `count` images has."""
    return [min(spec.block, count - start) for start in range(0, count, spec.block)]


def accuracy_so_far(job: Job, facts: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The accuracy in percent on the finished blocks of a judge job, by what was judged: `ca` or `ra`; else nothing."""
    if not isinstance(job.spec, JudgeSpec):
        return {}
    blocks = list(facts)
    right, judged = (sum(block[name] for block in blocks) for name in ("right", "judged"))
    return {"ra" if job.spec.images else "ca": 100 * right / judged}


def loss_by_kill(seconds: float) -> str:
    """A warning of blocks that take long; empty for others."""
    if seconds <= LONG_SECONDS:
        return ""
    return f"a block takes {seconds / 60:.0f} min, which a kill would lose; a smaller evaluate.block loses less"


def devices(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The processors or cards that blocks were made on, each once, sorted."""
    return sorted({str(block["device"]) for block in facts})
