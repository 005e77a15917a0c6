"""What a probe looks at: a live model at one operating point, and images with their labels."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime
from robuststack.engine.workspace import Workspace
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.plan.specs import ProbeSpec
from robuststack.plugin.attack import Attack
from robuststack.plugin.defense import Defense
from robuststack.plugin.threat import Threat

PROBES = "robuststack.engine.probes"


@dataclass(frozen=True)
class Probed:
    """A live model under the setting that is deployed, and the images of a check, on the model's device."""

    defense: Defense
    model: nn.Module
    """In eval mode, the plain module that `view` runs."""
    view: View
    """The model under the setting that is deployed: images [N, C, H, W] in [0, 1] -> logits [N, K]."""
    x: Tensor
    """float32 [N, C, H, W] in [0, 1]."""
    y: Tensor
    """int64 [N]."""
    num_classes: int
    attack: Attack | None
    threat: Threat
    runtime: Runtime
    """The precision that attacks run in."""
    spec: ProbeSpec
    folding: Folding

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
    defense, model = workspace.model(made)
    x, y = workspace.selected(made.spec.dataset, spec.selection).batch(slice(None))
    subject = Probed(
        defense=defense,
        model=model,
        view=defense.view(model, spec.setting),
        x=x,
        y=y,
        num_classes=workspace.component("dataset", made.spec.dataset).num_classes,
        attack=workspace.component("attack", spec.attack) if spec.attack else None,
        threat=spec.threat,
        runtime=workspace.runtime,
        spec=spec,
        folding=workspace.folding,
    )
    with seeded(spec.seed, "probe", spec.probe):
        facts: Mapping[str, Any] = importlib.import_module(f"{PROBES}.{spec.probe}").look(subject)
    return {"n": len(y), "facts": dict(facts), "seconds": time.perf_counter() - started}
