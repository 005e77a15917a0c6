"""One unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robuststack.plan.specs import JobSpec, Kind

WEIGHTS = "model.safetensors"
"""The file of a train job."""
IMAGES = "images.safetensors"
"""The file of an attack job's images."""
LABELS = "labels.safetensors"
"""The file of a judge job: `labels` [draws, n], -1 for no class, and `truth` [n], signed integers. That of a game job holds
`truth` too and, for its rounds from 1 and its settings from 0, `<round>/<setting>` [draws, n]."""


@dataclass(frozen=True)
class Job:
    """One unit of work. `spec` says everything about it; `id` is its hash."""

    id: str
    label: str
    spec: JobSpec
    digest: str
    needs: tuple[str, ...] = ()
    work: float = 0.0
    """Forward passes of an image times its pixels: comparable within a suite, never across networks."""
    attack_work: float = 0.0
    """The part of `work` that an attack does, in a train job and in a probe too: its passes take less than others."""
    keep_images: bool = False
    """For an attack job: keep its images when they have been judged. It changes no result, so it is not in the id."""

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    @property
    def also(self) -> Sequence[str]:
        """Files that its result must have beside those that every such job writes."""
        return (IMAGES,) if self.keep_images else ()

    @property
    def calls_function(self) -> bool:
        """Whether its model is what a function of the user returns, or an object of the running program: only a call tells
        what it computes."""
        model = self.spec.described
        return self.function is not None or (model is not None and model.is_live)

    @property
    def function(self) -> str | None:
        """The function of the user, `package.module:function`, that returns the job's model."""
        model = self.spec.described
        return model.user_model.python if model and model.user_model else None
