"""The digest of a job: what source code it is computed with, and what the jobs before it were computed with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robuststack.plan.job import Job
from robuststack.plan.source_digest import source_digest
from robuststack.plan.specs import Kind
from robuststack.plugin.component import Component

MODULES: dict[Kind, str] = {
    "train": "phases",
    "draws": "draws",
    "attack": "attack",
    "judge": "judge",
    "game": "game",
    "measure": "measure",
    "probe": "probes.probed",
}
"""The engine's module behind each kind of job."""
ALONE = ("jobs", "blocks", "stages", "workspace", "models")
"""Modules of the engine that serve all kinds: what they import belongs to one kind or another."""
BAKING = "robuststack.engine.bake"
"""What makes a baked draw of a model, beside the layers."""


def job_digest(
    kind: Kind,
    components: Iterable[Component],
    before: Sequence[Job] = (),
    *,
    probe: str | None = None,
    baked: bool = False,
) -> str:
    """The digest of a job that uses `components` and comes after the jobs `before`; a probe job names its `probe`, and
    `baked` says that a baked draw stands for the model.

    A retrained model makes its attack results stale, and other images their judging, so a digest ends with those of the
    jobs before it.
    """
    classes = [base for component in components for base in type(component).__mro__ if base is not object]
    module = f"probes.{probe}" if probe else MODULES[kind]
    modules = [
        f"robuststack.engine.{module}",
        *(base.__module__ for base in classes),
        *([BAKING] if baked else []),
    ]
    own = source_digest(modules, alone=[f"robuststack.engine.{name}" for name in ALONE])
    return ".".join([own, *dict.fromkeys(job.digest for job in before)])
