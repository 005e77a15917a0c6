"""The digest of a job: what source code it is computed with, and what the jobs before it were computed with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robuststack.plan.job import Job
from robuststack.plan.source_digest import source_digest
from robuststack.plan.specs import BlocksSpec, JobSpec, Kind, ProbeSpec
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
SERVING = ("jobs", "blocks", "stages", "workspace", "models", "build", "fitted", "same_noise", "torch_settings")
ALONE = (*(f"robuststack.engine.{module}" for module in SERVING), "robuststack.image_selection")
"""Modules that serve all kinds: what they import belongs to one kind or another."""
PLANNED = ("robuststack.suite.phases", "robuststack.suite.recipe")
"""What training reads its phases from."""
BROUGHT = tuple(
    f"robuststack.engine.{module}" for module in ("data", "live_network", "user_checkpoint", "user_function")
)
"""What loads and calls a model that was brought, beside those."""
BAKING = "robuststack.engine.bake"
"""What makes a baked draw of a model, beside the layers."""


def job_digest(
    spec: JobSpec, components: Iterable[Component], before: Sequence[Job] = (), *, threads: int | None = None
) -> str:
    """The digest of the job of a specification that uses `components` and comes after the jobs `before`; `threads` are
    those that a time is measured with, of which another number gives another time.

    A retrained model makes its attack results stale, and other images their judging, so a digest ends with those of the
    jobs before it.
    """
    classes = [base for component in components for base in type(component).__mro__ if base is not object]
    module = f"probes.{spec.probe}" if isinstance(spec, ProbeSpec) else MODULES[spec.kind]
    baked = isinstance(spec, BlocksSpec) and spec.bake is not None
    modules = [
        f"robuststack.engine.{module}",
        *(base.__module__ for base in classes),
        *([BAKING] if baked else []),
    ]
    model = spec.described
    brought = BROUGHT if model is not None and model.user_model is not None else ()
    own = source_digest(modules, alone=[*ALONE, *(PLANNED if spec.kind == "train" else ()), *brought])
    timed = [f"{threads}-threads"] if threads is not None else []
    return ".".join([own, *timed, *dict.fromkeys(job.digest for job in before)])
