"""The kept adversarial images of an attack job, judged again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robuststack.errors import StoreError
from robuststack.leaderboard.board_labels import Labels, read_labels
from robuststack.plan.plan import Plan
from robuststack.plan.rejudge import Rejudging
from robuststack.plugin.registry import Registry
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.pipeline import run_plan
from robuststack.running.store import Store


@dataclass(frozen=True)
class Rejudged:
    """What the images come to: `labels` now, `unrounded` on the very same noise before they were rounded, and `stored`, of
    the judge job that the store had."""

    plan: Plan
    labels: Labels
    unrounded: Labels | None
    stored: Labels | None


def rejudge(rejudging: Rejudging, store: Store, registry: Registry, data_folder: Path) -> Rejudged:
    """Run what is planned, as far as the store does not have it.

    Raises:
        StoreError: images or a model that are damaged, or a function of the user's that returns other weights now.
        JobFailed: a job's own failure.
    """
    plan = rejudging.plan
    # First: where the images are other ones now, the job that scored them is run again.
    stored = read_labels(store, rejudging.reference) if rejudging.reference else None
    with LocalExecutor(registry, store, data_folder, plan.hardware) as executor:
        _refuse_other_weights(rejudging, store, executor)
        outcome = run_plan(plan, store, executor, registry)
    for failed in outcome.failed.values():
        raise failed

    def read(job: str) -> Labels:
        return read_labels(store, job, outcome.results.get(job))

    unrounded = read(rejudging.unrounded.id) if rejudging.unrounded else None
    return Rejudged(plan, read(rejudging.judged.id), unrounded, stored)


def _refuse_other_weights(rejudging: Rejudging, store: Store, executor: LocalExecutor) -> None:
    """Only a call tells what a function of the user returns."""
    attack = rejudging.attack
    if not attack.calls_function:
        return
    from robuststack.engine.blocks import basis

    if basis(attack, executor.workspace)["model_sha256"] != store.result(attack.id)["model_sha256"]:
        raise StoreError(
            f"{attack.function!r} returns other weights since {attack.id} attacked it; run the suite again"
        )
