"""A trained model from the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack.api.arguments import PLACE, REGISTRY, TEXT, checked
from robuststack.errors import RobustStackError
from robuststack.paths import STORE, data_folder
from robuststack.plan.components import component
from robuststack.plan.specs import BlocksSpec, TrainSpec, parse_spec
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Trained:
    """A model from the store. `at` gives it at an operating point."""

    job: str
    label: str
    defense: Defense
    dataset: Dataset
    model: nn.Module
    spec: TrainSpec
    """What it was trained on and how."""

    def point(self, **knobs: Any) -> dict[str, Any]:
        """An operating point, whole: knobs that are not named keep their defaults; `lambda` is written `lambda_`.

        Raises:
            RobustStackError: the defense has no such knob or point.
        """
        return self.defense.whole_point(knobs)

    def at(self, *, frozen: bool = False, **knobs: Any) -> nn.Module:
        """The model at an operating point, in eval mode: images [N, C, H, W] in [0, 1] -> logits [N, K].

        Knobs that are not named keep their defaults; `lambda` is written `lambda_`. Points share the weights. `frozen`
        gives an independent deterministic copy with one draw of its noise.

        Raises:
            RobustStackError: the defense has no such knob or point, or noise that cannot be frozen.
        """
        model = self.defense.deploy(self.model, self.point(**knobs), frozen=frozen)
        if frozen:
            import torch

            with torch.no_grad():  # A frozen model checks itself in its first pass.
                model(torch.rand(1, *self.dataset.shape, generator=torch.Generator().manual_seed(0)))
        return model


@checked(job=TEXT, store=PLACE, registry=REGISTRY)
def load_model(job: str, *, store: str | Path = STORE, registry: Registry | None = None) -> Trained:
    """The model of a train job, on the CPU, from its id or an unambiguous beginning of it.

    Raises:
        StoreError: the store has no such job, or its file is damaged.
    """
    from robuststack.attacks.frozen_eval import eval_mode
    from robuststack.engine import models

    storage = Store(store, create=False)
    full = storage.find(job)
    result = storage.result(full)
    spec = parse_spec(result)
    if not isinstance(spec, TrainSpec):
        scored = isinstance(spec, BlocksSpec) and spec.foreign is None
        hint = f", such as {spec.model}, whose model it scores" if scored else ""
        raise RobustStackError(f"{full} is a job of kind {result['kind']}; name a train job{hint}")
    registry = registry or Registry()
    defense, model = models.finished(storage, registry, full, spec.model, data_folder(), seed=spec.seed)
    dataset = component(registry, "dataset", spec.model.dataset)
    eval_mode(model)
    return Trained(full, result["label"], defense, dataset, model, spec)
