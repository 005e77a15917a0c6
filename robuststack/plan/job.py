"""One unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """One unit of work. `spec` is plain JSON data that says everything about it; `id` is its hash."""

    id: str
    kind: Literal["train", "attack", "measure"]
    label: str
    spec: Mapping[str, Any]
    digest: str
    needs: tuple[str, ...] = ()
    work: float = 0.0
    """Forward passes of an image times its pixels: comparable within a suite, never across networks."""
    keep_images: bool = False
    """For an attack job: store the adversarial images too. It changes no result, so it is not in the id."""

    @property
    def also(self) -> Sequence[str]:
        """Files that its result must have beside those that every such job writes."""
        return ("images.safetensors",) if self.keep_images else ()

    @property
    def calls_function(self) -> bool:
        """Whether its model is what a function of the user returns: only a call tells its weights."""
        return function_of(self.spec) is not None


def function_of(spec: Mapping[str, Any]) -> str | None:
    """The function of the user, `package.module:function`, that returns the model of a job with this specification."""
    found: str | None = spec.get("source", spec).get("given", {}).get("python")
    return found
