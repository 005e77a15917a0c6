"""A job's specification -> its result and files: what an executor calls, in whatever process it likes."""

from __future__ import annotations

import io
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

import robuststack
from robuststack.engine import data as data_module
from robuststack.engine import evaluate as evaluating
from robuststack.engine import measure as measuring
from robuststack.engine import models
from robuststack.engine import probe as probing
from robuststack.engine import train as training
from robuststack.engine.data import Data
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime
from robuststack.errors import DatasetError, StoreError
from robuststack.hardware import Hardware, cpu_name
from robuststack.plan.job import Job
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.attack import Attack, GradientAttack
from robuststack.plugin.dataset import Dataset, Split
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import Registry
from robuststack.plugin.threat import Threat
from robuststack.running.store import Store
from robuststack.suite.recipe import Recipe

Reporter = Callable[..., None]


@dataclass
class Workspace:
    """What jobs of one process share: the store, the data folder, and what was loaded last."""

    registry: Registry
    store: Store
    data_folder: Path
    hardware: Hardware
    _data: dict[str, dict[Split, Data]] = field(default_factory=dict)
    _model: tuple[tuple[str, str | None], Defense, nn.Module] | None = None

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.hardware)

    def component(self, kind: str, spec: Mapping[str, Any]) -> Any:
        return models.component(self.registry, kind, spec)

    def data(self, spec: Mapping[str, Any]) -> dict[Split, Data]:
        """The splits of a dataset, loaded once.

        Raises:
            DatasetError: it cannot be had, or is not what it says.
        """
        key = json.dumps(spec, sort_keys=True)
        if key not in self._data:
            dataset: Dataset = self.component("dataset", spec)
            if dataset.fingerprint != spec.get("fingerprint", ""):
                raise DatasetError(f"dataset {dataset.name!r} has changed since the run was planned; run again")
            self._data[key] = data_module.load(dataset, self.data_folder, self.runtime.device)
        return self._data[key]

    def trained(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What the model of an attack job is: its `spec`, and, where a train job made it, the hash of its `weights` and
        that job's `digest`."""
        if "source" in spec:
            return {"spec": spec["source"], "weights": None}
        result = self.store.result(spec["model"])
        return {"spec": result["spec"], "weights": result["files"]["model.safetensors"], "digest": result["digest"]}

    def model(self, job: str, spec: Mapping[str, Any], weights: str | None) -> tuple[Defense, nn.Module]:
        """The trained model of a train job (or the loaded one of a defense that does not train), on the device.

        `weights` is the hash of its file: the last model is kept, not the last of that name.
        """
        if self._model is None or self._model[0] != (job, weights):
            defense, model = models.finished(self.store, self.registry, job, spec, self.data_folder)
            self._model = (job, weights), defense, self.runtime.place(model).eval()
        return self._model[1], self._model[2]

    def probe(self, job: Job, *, gradients: bool) -> None:
        """Call the job's model once.

        Raises:
            ModelError: it could not be evaluated, and why.
        """
        if job.kind == "train":
            spec = job.spec
            defense: Defense = self.component("defense", spec["defense"])
            model = models.untrained(self.registry, spec, 0)
        else:
            spec = job.spec["source"]
            defense, model = self.model(job.spec["model"], spec, None)
        dataset: Dataset = self.component("dataset", spec["dataset"])
        given = spec.get("given", {})
        own = given.get("python") or given.get("places", {}).get("load")
        name = own or (spec.get("architecture") or spec["defense"])["name"]
        probing.probe(self.registry, defense, model, dataset, gradients=gradients, name=repr(name))


def execute(job: Job, workspace: Workspace, report: Reporter) -> dict[str, Any]:
    """Run one job and store its result. `report(event, **facts)` is told of epochs and judged batches. A stored result of a
    function's model stands, where the function returns the same weights as it did then.

    Raises:
        JobFailed: the job's own failure; RobustStackError: anything that concerns the whole run.
    """
    found = _still(job, workspace) if job.calls_function else None
    if found is not None:
        return found
    started = time.perf_counter()
    result, files = {"train": _train, "attack": _attack, "measure": _measure}[job.kind](job, workspace, report)
    head = {"id": job.id, "kind": job.kind, "label": job.label, "digest": job.digest, "spec": job.spec}
    result = {**head, **result, "versions": versions(), "machine": machine(workspace.hardware)}
    result.setdefault("seconds", time.perf_counter() - started)
    return workspace.store.finish(job.id, result, files)


def _still(job: Job, workspace: Workspace) -> dict[str, Any] | None:
    """The stored result of a job whose model a function returns, if it is of the weights that the function returns now."""
    if not workspace.store.has(job.id, job.digest, also=job.also):
        return None
    found = workspace.store.result(job.id)
    _, model = workspace.model(job.spec.get("model", job.id), job.spec.get("source", job.spec), None)
    return found if found.get("model_sha256") == models.weights_hash(model) else None


def _train(job: Job, workspace: Workspace, report: Reporter) -> tuple[dict[str, Any], dict[str, bytes]]:
    spec, store = job.spec, workspace.store
    defense: Defense = workspace.component("defense", spec["defense"])
    dataset: Dataset = workspace.component("dataset", spec["dataset"])
    attack: GradientAttack = workspace.component("attack", spec["recipe"]["attack"])
    recipe = Recipe(**{key: value for key, value in spec["recipe"].items() if key != "attack"})
    splits = workspace.data(spec["dataset"])
    data = splits["train"]
    model = workspace.runtime.place(models.untrained(workspace.registry, spec, spec["seed"]))
    state = training.begin(defense, model, recipe)

    saved = store.load_checkpoint(job.id, job.digest)
    if saved:
        models.restore(model, saved.files["model.safetensors"], saved.folder / "model.safetensors")
        optimizer_state = torch.load(io.BytesIO(saved.files["optimizer.pt"]), weights_only=True, map_location="cpu")
        state.optimizer.load_state_dict(optimizer_state)
        state.epoch, state.history = saved.epoch, list(saved.meta["history"])
        if "best.safetensors" in saved.files:
            weights = safetensors.torch.load(saved.files["best.safetensors"])
            state.best = training.Best(**saved.meta["best"], weights=weights)

    def epoch_done(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch < recipe.epochs:
            optimizer_file = io.BytesIO()
            torch.save(state.optimizer.state_dict(), optimizer_file)
            files = {"model.safetensors": models.packed(model), "optimizer.pt": optimizer_file.getvalue()}
            meta: dict[str, Any] = {"digest": job.digest, "history": state.history}
            if state.best:
                files["best.safetensors"] = models.packed_state(state.best.weights)
                meta["best"] = {"ra": state.best.ra, "epoch": state.best.epoch}
            store.save_checkpoint(job.id, epoch, files, meta)
        report("epoch_finished", job=job, epoch=epoch, epochs=recipe.epochs, metrics=metrics)

    training.train(
        state, defense, data, attack, Threat(**spec["threat"]), recipe, workspace.runtime,
        seed=spec["seed"], augmentation=dataset.augmentation, epoch_done=epoch_done, validation=splits["validation"],
    )  # fmt: skip
    seconds = [one["seconds"] for one in state.history]
    shown = defense.inspect(model)
    result = {
        "history": [{key: value for key, value in one.items() if key != "seconds"} for one in state.history],
        "epoch_seconds": seconds,
        "seconds_per_epoch": statistics.median(seconds),
        "seconds": sum(seconds),
        "images": len(data),
        "kept_epoch": state.best.epoch if state.best else recipe.epochs,
        "inspected": {title: dict(values) for title, values in shown.items()},
        "layers": {title: list(values) for title, values in shown.items()},  # In order: JSON files are sorted.
    }
    return result, {"model.safetensors": models.packed(model)}


def _attack(job: Job, workspace: Workspace, report: Reporter) -> tuple[dict[str, Any], dict[str, bytes]]:
    spec = job.spec
    trained = workspace.trained(spec)
    if "digest" in trained and not job.digest.endswith(trained["digest"]):
        raise StoreError(f"another run with other source code has retrained {spec['model']} meanwhile; run again")
    source, weights = trained["spec"], trained["weights"]
    defense, model = workspace.model(spec["model"], source, weights)
    data = workspace.data(source["dataset"])[spec["split"]]
    if spec["limit"] is not None:
        data = Data(data.images[: spec["limit"]], data.labels[: spec["limit"]])
    attack: Attack | None = workspace.component("attack", spec["attack"]) if spec["attack"] else None
    threat = Threat(**spec["threat"]) if attack else None
    victim = defense.view(model, Setting(**spec["victim"]))
    other = attack is not None and spec["attacker"] != spec["victim"]
    attacker = defense.view(model, Setting(**spec["attacker"])) if other else victim

    def progress(done: int, total: int, accuracy: float) -> None:
        report("batch_judged", job=job, done=done, total=total, metrics={"ra" if attack else "ca": accuracy})

    outcome = evaluating.evaluate(
        attacker, victim, data, attack, threat, workspace.runtime,
        seed=spec["seed"], draws=spec["draws"], batch_size=spec["batch_size"], keep=job.keep_images, progress=progress,
    )  # fmt: skip
    correct = outcome.correct.cpu().numpy()
    result = {"n": correct.shape[1], "accuracy": 100 * float(correct.mean()), "checks": outcome.checks}
    # Which weights were scored: a model that is trained again need not come out the same.
    result["model_sha256"] = models.weights_hash(model) if job.calls_function else weights
    files = {"outcomes.npy": _array_bytes(np.packbits(correct, axis=1))}
    if outcome.images is not None:
        files["images.safetensors"] = safetensors.torch.save({"images": outcome.images.contiguous()})
    return result, files


def _array_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _measure(job: Job, workspace: Workspace, report: Reporter) -> tuple[dict[str, Any], dict[str, bytes]]:
    spec = job.spec
    defense: Defense = workspace.component("defense", spec["defense"])
    shape = (spec["shape"][0], spec["shape"][1], spec["shape"][2])
    if "given" in spec or not defense.trains:
        _, model = models.finished(workspace.store, workspace.registry, job.id, spec, workspace.data_folder)
    else:
        model = models.untrained(workspace.registry, spec, 0)
    model = workspace.runtime.place(model).eval()
    plain = None
    if "architecture" in spec:
        architecture: Architecture = workspace.component("architecture", spec["architecture"])
        with seeded("measure"):
            plain = workspace.runtime.place(architecture.build(shape, spec["num_classes"])).eval()
    with seeded("measure"):
        setting = Setting(**spec["setting"])
        result = measuring.measure(defense, model, setting, shape, workspace.runtime, dict(spec["measure"]), plain)
    # How many parameters are zero depends on the weights too.
    return {**result, **({"model_sha256": models.weights_hash(model)} if job.calls_function else {})}, {}


def versions() -> dict[str, str]:
    """What software a figure was computed with."""
    return {
        "robuststack": robuststack.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def machine(hardware: Hardware) -> dict[str, Any]:
    """What hardware a figure was computed with."""
    name = torch.cuda.get_device_name(hardware.device) if hardware.kind == "cuda" else cpu_name()
    return {"device": name, "threads": torch.get_num_threads(), "workers": hardware.workers}
