"""What jobs of one process share: the store, the data folder, and what was loaded last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from robuststack.engine import data as data_module
from robuststack.engine import model_check, models
from robuststack.engine.bake import bake
from robuststack.engine.data import Data
from robuststack.engine.fitted import fit, fit_each, needs_of
from robuststack.engine.live_network import Tuned
from robuststack.engine.object_hash import object_hash
from robuststack.engine.runtime import Runtime
from robuststack.errors import DatasetError, StoreError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.plan.components import component
from robuststack.plan.job import IMAGES, WEIGHTS, Job
from robuststack.plan.specs import (
    BlocksSpec,
    ComponentSpec,
    ImageSelection,
    ModelSpec,
    TrainSpec,
    parse_spec,
)
from robuststack.plugin.dataset import Dataset, Split
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import Registry
from robuststack.running.job_store import JobStore

LOG = logging.getLogger(__name__)
BAKING_IMAGES = 8
"""How many images a baked draw is checked on."""


@dataclass(frozen=True)
class Made:
    """The model that a job scores: what it is made of and, where a train job made it, the hash of its weights."""

    job: str
    spec: ModelSpec
    weights: str | None = None
    seed: int = 0


@dataclass
class Workspace:
    """What jobs of one process share: the store, the data folder, and what was loaded last."""

    registry: Registry
    store: JobStore
    data_folder: Path
    hardware: Hardware
    _data: dict[str, dict[Split, Data]] = field(default_factory=dict)
    _model: tuple[tuple[str, str | None], Defense, nn.Module] | None = None
    _images: tuple[str, Tensor] | None = None
    _baked: tuple[tuple[object, ...], View, Folding] | None = None
    model_hash: str | None = None
    """Of all that the last model is made of, if a function of the user returned it."""
    folding: Folding = field(default_factory=Folding)
    """What can be folded in the model that was loaded last."""

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.hardware)

    def component(self, kind: str, spec: ComponentSpec) -> Any:
        return component(self.registry, kind, spec)

    def data(self, spec: ComponentSpec) -> dict[Split, Data]:
        """The splits of a dataset, loaded once.

        Raises:
            DatasetError: it cannot be had, or is not what it says.
        """
        key = spec.model_dump_json()
        if key not in self._data:
            dataset: Dataset = self.component("dataset", spec)
            if dataset.fingerprint != spec.fingerprint:
                raise DatasetError(f"dataset {dataset.name!r} has changed since the run was planned; run again")
            self._data[key] = data_module.load(dataset, self.data_folder, self.runtime.device)
        return self._data[key]

    def selected(self, spec: ComponentSpec, selection: ImageSelection) -> Data:
        """The images that are scored, with their labels."""
        data = self.data(spec)[selection.split]
        return data.at(selection.rows(data.labels.cpu().numpy()))

    def made(self, spec: BlocksSpec, digest: str | None = None) -> Made:
        """What the model of a job that attacks, judges or looks at one is, for a job of that digest.

        Raises:
            StoreError: another run has retrained it with other source code.
        """
        if spec.foreign is not None:
            return Made(spec.model, spec.foreign)
        result = self.store.result(spec.model)
        if digest is not None and not digest.endswith(result["digest"]):
            raise StoreError(f"another run with other source code has retrained {spec.model} meanwhile; run again")
        trained = parse_spec(result)
        assert isinstance(trained, TrainSpec)
        return Made(spec.model, trained.model, result["files"][WEIGHTS], trained.seed)

    def model(self, made: Made) -> tuple[Defense, nn.Module]:
        """The model and its defense, on the device. The last one is kept: that of these weights, not of that name."""
        if self._model is None or self._model[0] != (made.job, made.weights):
            defense, model = models.finished(
                self.store, self.registry, made.job, made.spec, self.data_folder, seed=made.seed
            )
            own = made.spec.user_model
            shape = self.component("dataset", made.spec.dataset).shape
            called = made.spec.is_live or (own is not None and own.python is not None)
            # Before its first call: some networks keep what they compute.
            self.model_hash = object_hash(model) if called else None
            model = ready(defense, model, shape, self.runtime, copies=called)
            self._model = (made.job, made.weights), defense, model
            self.folding = Folding()
        return self._model[1], self._model[2]

    def view(self, made: Made, spec: BlocksSpec) -> tuple[View, Folding]:
        """The model as an attack or judge job sees it, and what can be folded in it. The last baked draw is kept.

        Raises:
            ModelError: the job is about a baked draw, and the model has noise that cannot be baked.
        """
        defense, model = self.model(made)
        view = defense.view(model, spec.setting)
        if spec.bake is None:
            return view, self.folding
        key = (made.job, made.weights, self.model_hash, str(spec.setting.resolved()), spec.bake)
        if self._baked is None or self._baked[0] != key:
            images, _ = self.selected(made.spec.dataset, spec.selection).batch(slice(BAKING_IMAGES))
            self._baked = key, bake(view, spec.bake, images), Folding()
        return self._baked[1], self._baked[2]

    def forget_model(self) -> None:
        """Load the next job's model anew: the one that was loaded last is not what it was."""
        self._model = self._baked = None

    def images(self, job: str) -> tuple[Tensor, str]:
        """The images of a finished attack job, float32 [N, C, H, W] in host memory, and the hash of their file.

        Raises:
            StoreError: they are gone or damaged.
        """
        result = self.store.result(job)
        known = str(result["images_sha256"])
        if self._images is None or self._images[0] != known:
            self._images = known, safetensors.torch.load(self.store.read(job, IMAGES, result))["images"]
        return self._images[1], known

    def probe(self, job: Job, *, gradients: bool, baked: Sequence[Setting] = ()) -> None:
        """Call once the model that the job makes or that is brought to it, and bake it at the settings `baked`.

        Raises:
            ModelError: it could not be evaluated, and why.
        """
        spec = job.spec
        assert spec.described is not None
        parts = spec.described
        dataset: Dataset = self.component("dataset", parts.dataset)
        block = None
        if isinstance(spec, BlocksSpec):
            defense, model = self.model(Made(spec.model, parts))
            # What a user's code does with a large batch is not known.
            if job.calls_function:
                block = min(spec.block, spec.selection.count(dataset.size(spec.selection.split)))
        else:
            defense = self.component("defense", parts.defense)
            model = ready(defense, models.untrained(self.registry, parts, 0), dataset.shape, self.runtime)
        own = parts.user_model
        network = own.text if own else (parts.architecture or parts.defense).name
        model_check.probe(
            self.registry, defense, model, dataset,
            gradients=gradients, name=repr(network), stochastic=bool(own and own.stochastic), baked=baked, block=block,
        )  # fmt: skip
        if any(needs_of(each).float32 for each in (model.networks if isinstance(model, Tuned) else [model])):
            LOG.warning("%r cannot run in bf16: its forward passes are float32", network)


def ready(
    defense: Defense, model: nn.Module, shape: tuple[int, int, int], runtime: Runtime, *, copies: bool = False
) -> nn.Module:
    """The model on the device, in eval mode, with what it needs of those who call it, and with copies of its input if
    `copies` says so."""
    if isinstance(model, Tuned):
        settings = [defense.setting(defense.whole_point(point)) for point in defense.operating_points()]
        views = {model.at(each.values): View(model.at(each.values), stochastic=each.stochastic) for each in settings}
        fit_each(views, shape, runtime, copies=copies)
        return model
    try:
        setting = defense.reference_setting()
        # Noise is drawn in memory order: with it, no two layouts give the same logits.
        view = defense.view(model, defense.quiet(setting) or setting)
        # A model that needs no training may run other code at each point.
        points = [] if defense.trains else defense.operating_points()
        others = [defense.view(model, defense.setting(defense.whole_point(point))) for point in points]
    except Exception:  # No model of this defense: the probe says so.
        return runtime.place(model)
    fit(model, view, shape, runtime, others=others, copies=copies)
    return model
