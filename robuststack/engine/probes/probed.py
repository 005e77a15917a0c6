"""What a probe looks at: a live model at one operating point, and images with their labels."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robuststack.engine.random_streams import seeded
from robuststack.engine.workspace import Workspace
from robuststack.layers.condition import View
from robuststack.plan.specs import ProbeSpec

PROBES = "robuststack.engine.probes"


@dataclass(frozen=True)
class Probed:
    """A live model under the setting that is deployed, and the images of a check, on the model's device."""

    view: View
    """The model under the setting that is deployed: images [N, C, H, W] in [0, 1] -> logits [N, K]."""
    x: Tensor
    """float32 [N, C, H, W] in [0, 1]."""
    y: Tensor
    """int64 [N]."""
    spec: ProbeSpec

    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of the images and labels, in the blocks of the row: what one forward pass takes."""
        size = self.spec.block
        starts = range(0, len(self.y), size)
        return [(self.x[start : start + size].clone(), self.y[start : start + size].clone()) for start in starts]


def probe(spec: ProbeSpec, digest: str, workspace: Workspace) -> dict[str, Any]:
    """What a probe job comes to: the probe's `facts`, JSON data, and `n`, the number of images.

    The probe draws its random numbers from a named stream of its own.
    """
    started = time.perf_counter()
    made = workspace.made(spec, digest)
    view, _ = workspace.view(made, spec)
    x, y = workspace.selected(made.spec.dataset, spec.selection).batch(slice(None))
    with seeded(spec.seed, "probe", spec.probe):
        facts: Mapping[str, Any] = importlib.import_module(f"{PROBES}.{spec.probe}").look(Probed(view, x, y, spec))
    return {"n": len(y), "facts": dict(facts), "seconds": time.perf_counter() - started}
