"""What a probe looks at: a live model at one operating point, and images with their labels."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime
from robuststack.engine.workspace import Workspace
from robuststack.layers.condition import View
from robuststack.layers.full_float32 import full_float32
from robuststack.plan.specs import ProbeSpec
from robuststack.plugin.attack import Attack

PROBES = "robuststack.engine.probes"
LARGEST = 1e9
"""What stands for a difference that is infinite, or larger than this: facts are JSON, which has no infinity."""


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
    runtime: Runtime
    """The device, and the precision that attacks run in."""
    attack: Attack | None = None
    """The attack that is looked at, if there is one; it knows its number of draws."""

    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of the images and labels, in the blocks of the row: what one forward pass takes."""
        size = self.spec.block
        starts = range(0, len(self.y), size)
        return [(self.x[start : start + size].clone(), self.y[start : start + size].clone()) for start in starts]

    @contextmanager
    def still(self) -> Iterator[None]:
        """Eval mode, frozen parameters, no gradients and float32, as judging has them."""
        with torch.no_grad(), frozen_eval(self.view), full_float32(self.x.device):
            yield

    def noise(self, *stream: object) -> Any:
        """The default generators seeded by a stream of the probe's own, which `stream` names: a context manager."""
        return seeded(self.spec.seed, "probe", self.spec.probe, *stream)

    def logits(self, *stream: object) -> Tensor:
        """The logits float32 [N, K] of one pass over all blocks as `still` as judging, on the noise of a stream."""
        with self.still(), self.noise(*stream):
            return torch.cat([self.view(x).float() for x, _ in self.blocks()])


def difference(first: Tensor, second: Tensor) -> float:
    """The largest difference of logits [N, K], relative to the largest finite one; `LARGEST` if one has a NaN or an
    infinity where the other has none."""
    alike = (first == second) | (first.isnan() & second.isnan())
    if bool(alike.all()):
        return 0.0
    largest = second[second.isfinite()].abs().max() if bool(second.isfinite().any()) else second.new_ones(())
    relative = torch.where(alike, 0.0, (first - second).abs() / largest)
    return float(relative.nan_to_num(nan=torch.inf).clamp(max=LARGEST).max())


def probe(spec: ProbeSpec, digest: str, workspace: Workspace) -> dict[str, Any]:
    """What a probe job comes to: the probe's `facts`, JSON data, and `n`, the number of images.

    The probe draws its random numbers from a named stream of its own.
    """
    started = time.perf_counter()
    made = workspace.made(spec, digest)
    view, _ = workspace.view(made, spec)
    x, y = workspace.selected(made.spec.dataset, spec.selection).batch(slice(None))
    attack: Attack | None = workspace.component("attack", spec.attack) if spec.attack else None
    if attack and spec.draws_from:
        attack = attack.with_draws(workspace.store.result(spec.draws_from)["draws"])
    subject = Probed(view, x, y, spec, workspace.runtime, attack)
    with seeded(spec.seed, "probe", spec.probe):
        facts: Mapping[str, Any] = importlib.import_module(f"{PROBES}.{spec.probe}").look(subject)
    return {"n": len(y), "facts": dict(facts), "seconds": time.perf_counter() - started}
