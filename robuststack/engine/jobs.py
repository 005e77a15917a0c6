"""A job's specification -> its result and files: what an executor calls, in whatever process it likes."""

from __future__ import annotations

import hashlib
import itertools
import logging
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.torch
import torch

import robuststack
from robuststack.engine import blocks, draws, game, models, witness
from robuststack.engine import measure as measuring
from robuststack.engine.failing_model import place_in_model
from robuststack.engine.fitted import fit
from robuststack.engine.live_network import Tuned
from robuststack.engine.memory import out_of_memory
from robuststack.engine.object_hash import object_hash
from robuststack.engine.phases import Training
from robuststack.engine.probes import probed
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import device_name
from robuststack.engine.stages import Reporter
from robuststack.engine.torch_settings import settings_kept
from robuststack.engine.unlisted_parameters import undecided_constants, unlisted_parameters
from robuststack.engine.workspace import Made, Workspace, ready
from robuststack.errors import JobFailed, RobustStackError, StoreError
from robuststack.evidence.overfitting import catastrophic_overfitting
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plan.job import IMAGES, WEIGHTS, Job
from robuststack.plan.specs import (
    AttackSpec,
    BlocksSpec,
    DrawsSpec,
    GameSpec,
    JudgeSpec,
    MeasureSpec,
    ProbeSpec,
    TrainSpec,
)
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.failing import plugin_failure, told
from robuststack.running.blocks import accuracy_so_far, loss_by_kill
from robuststack.running.job_store import JobStore
from robuststack.running.store import Block, Checkpoint
from robuststack.suite.phases import planned_phases

LOG = logging.getLogger(__name__)


def execute(job: Job, workspace: Workspace, report: Reporter) -> dict[str, Any]:
    """Run one job and store its result. `report(event, **facts)` is told of epochs and blocks. A stored result of a
    function's model stands, where the function returns the same weights as it did then.

    Raises:
        JobFailed: the job's own failure; RobustStackError: anything that concerns the whole run.
    """
    try:
        with settings_kept():
            return _execute(job, workspace, report)
    except Exception as error:
        reason = _failure(job, error)
        if reason is None:
            raise
        raise JobFailed(reason) from error


def _failure(job: Job, error: Exception) -> str | None:
    """What failed, why and where, if it is the user's own model or a plugin's component; None if it is something else."""
    of_model = _failure_of_model(job, error)
    if of_model is not None:
        return f"{job.function or job.label!r} fails: {of_model}"
    return plugin_failure(error) if _unforeseen(error) else None


def _failure_of_model(job: Job, error: Exception) -> str | None:
    """The error and its line, if it is of the user's own model."""
    place = place_in_model(error) if job.calls_function and _unforeseen(error) else None
    return None if place is None else told(error, place)


def _unforeseen(error: Exception) -> bool:
    return not isinstance(error, RobustStackError) and not out_of_memory(error)


def _execute(job: Job, workspace: Workspace, report: Reporter) -> dict[str, Any]:
    kept = _kept(job, workspace) if job.calls_function else None
    if kept is not None:
        return kept
    started = time.perf_counter()
    if isinstance(job.spec, TrainSpec):
        result, files = _train(job, job.spec, workspace, report)
    elif isinstance(job.spec, MeasureSpec):
        result, files = _measure(job, job.spec, workspace)
    elif isinstance(job.spec, ProbeSpec):
        result, files = {**blocks.basis(job, workspace), **probed.probe(job.spec, job.digest, workspace)}, {}
    elif isinstance(job.spec, DrawsSpec):
        result, files = draws.choose(job, job.spec, workspace, report)
    elif isinstance(job.spec, GameSpec):
        result, files = game.play(job, job.spec, workspace, report)
    else:
        result, files = _in_blocks(job, workspace, report)
    if job.calls_function and isinstance(job.spec, BlocksSpec):
        result["gradients"] = _gradients(job.spec, job, workspace)
    head = {"id": job.id, "kind": job.kind, "label": job.label, "digest": job.digest, "spec": job.spec.plain()}
    devices = result.pop("devices", ())
    result = {**head, **result, "versions": versions(), "machine": machine(workspace.hardware, devices)}
    result.setdefault("seconds", time.perf_counter() - started)
    return workspace.store.finish(job.id, result, files)


def _kept(job: Job, workspace: Workspace) -> dict[str, Any] | None:
    """The stored result of a job whose model a function returns, if it is of the weights that the function returns now, and
    of the images that there are now."""
    if not workspace.store.has(job.id, job.digest, also=job.also):
        return None
    result = workspace.store.result(job.id)
    if isinstance(job.spec, BlocksSpec):
        now = blocks.basis(job, workspace)
        same = (
            all(result.get(name) == value for name, value in now.items())
            and (not isinstance(job.spec, AttackSpec | JudgeSpec) or witness.says_the_same(job, workspace))
            and witness.same_gradients(result.get("gradients"), _gradients(job.spec, job, workspace))
        )
    else:
        parts = job.spec.described
        assert parts is not None
        if not parts.user_model and workspace.component("defense", parts.defense).trains:
            return None  # It is measured untrained: nothing that is kept says what the defense builds now.
        workspace.model(Made(job.id, parts))
        same = result.get("model_sha256") == workspace.model_hash
    return result if same else None


def _gradients(spec: BlocksSpec, job: Job, workspace: Workspace) -> list[list[float]]:
    return witness.gradients(spec, workspace.made(spec, job.digest), workspace)


def _in_blocks(job: Job, workspace: Workspace, report: Reporter) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Make the blocks that the store does not have, one after another, and the result of all."""
    store = workspace.store
    basis = blocks.basis(job, workspace)
    stamp = {"digest": job.digest, **basis}
    sizes = blocks.block_sizes(job, workspace)

    def noticed(text: str) -> None:
        report("job_noticed", job=job, text=text)

    facts = store.blocks(job.id, stamp, noticed)
    held: Block | None = None
    warned = False
    for number in range(len(sizes)):
        if number not in facts:
            block = blocks.run_block(job, workspace, number)
            facts[number] = block.facts
            # The last of them goes straight into the result.
            if len(facts) < len(sizes):
                store.save_block(job.id, block, stamp)
            else:
                held = block
            if not warned and (warning := loss_by_kill(block.facts["seconds"])):
                warned = True
                noticed(warning)
        done = [facts[before] for before in range(number + 1)]
        report(
            "block_finished", job=job, done=sum(sizes[: number + 1]), total=sum(sizes), metrics=accuracy_so_far(job, done)
        )  # fmt: skip

    def content(number: int) -> bytes:
        return held.content if held and held.number == number else store.read_block(job.id, number, stamp).content

    result, files = blocks.assemble(job, workspace, [facts[number] for number in range(len(sizes))], content)
    if job.calls_function:
        if blocks.basis(job, workspace)["witness"] != basis["witness"]:
            store.discard_blocks(job.id)
            workspace.forget_model()
            raise JobFailed(
                f"{job.function or job.label!r} keeps a state from call to call: after this job it gives the last"
                f" {sizes[-1]} clean images other labels than before, so its figures would depend on what it saw first"
            )
        if isinstance(job.spec, AttackSpec):
            images = safetensors.torch.load(files[IMAGES])["images"]
            files[witness.WITNESS] = witness.attacked_labels(job, workspace, images)
    if isinstance(job.spec, AttackSpec):
        hashed = hashlib.sha256(files[IMAGES]).hexdigest()
        return {**result, **basis, "images_sha256": hashed, "keep_images": job.keep_images}, files
    return {**result, **basis}, files


def _train(
    job: Job, spec: TrainSpec, workspace: Workspace, report: Reporter
) -> tuple[dict[str, Any], dict[str, bytes]]:
    store, recipe = workspace.store, spec.recipe
    defense: Defense = workspace.component("defense", spec.model.defense)
    dataset: Dataset = workspace.component("dataset", spec.model.dataset)
    attack: GradientAttack = workspace.component("attack", spec.attack)
    splits = workspace.data(spec.model.dataset)
    model = ready(
        defense, models.untrained(workspace.registry, spec.model, spec.seed), dataset.shape, workspace.runtime
    )
    phases = planned_phases(defense, recipe)
    total = sum(planned.recipe.epochs for planned in phases)

    saved = _checkpoint(job, store, report)
    devices = sorted({device_name(workspace.hardware), *(saved.meta["devices"] if saved else ())})

    def epoch_saved(
        epoch: int, files: Mapping[str, bytes], facts: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        if epoch < total:
            store.save_checkpoint(job.id, epoch, files, {"digest": job.digest, "devices": devices, **facts})
        report("epoch_finished", job=job, epoch=epoch, epochs=total, metrics=metrics)
        overfitting = catastrophic_overfitting(facts["history"])
        if overfitting is not None and overfitting.epoch == epoch:
            report("job_noticed", job=job, text=overfitting.text)

    training = Training(
        defense, phases, splits, dataset.augmentation, attack, spec.threat, workspace.runtime, spec.seed
    )  # fmt: skip
    progress = training.run(model, saved, epoch_saved)
    overfitting = catastrophic_overfitting(progress.history)
    seconds = [epoch["seconds"] for epoch in progress.history]
    shown = defense.inspect(model)
    result = {
        "history": [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in progress.history],
        "epoch_seconds": seconds,
        "seconds_per_epoch": seconds_of(seconds, [planned.recipe.epochs for planned in phases]) / spec.recipe.epochs,
        "seconds": sum(seconds),
        "images": len(splits["train"]),
        # Over all phases, as the history counts.
        "kept_epoch": total - phases[-1].recipe.epochs + progress.kept[-1],
        **({"overfitting": asdict(overfitting)} if overfitting is not None else {}),
        "phases": [
            {"name": planned.phase.name, "epochs": planned.recipe.epochs, "kept_epoch": kept}
            for planned, kept in zip(phases, progress.kept, strict=True)
        ],
        "inspected": {title: dict(values) for title, values in shown.items()},
        "layers": {title: list(values) for title, values in shown.items()},  # In order: JSON files are sorted.
        "devices": devices,
    }
    return result, {WEIGHTS: models.packed(model)}


def _checkpoint(job: Job, store: JobStore, report: Reporter) -> Checkpoint | None:
    """Where training goes on; None if it starts, or has to start again."""
    try:
        return store.load_checkpoint(job.id, job.digest)
    except StoreError as error:
        report("job_noticed", job=job, text=f"training starts again: {error}")
        return None


def seconds_of(seconds: Sequence[float], epochs: Sequence[int]) -> float:
    """What training took in phases of so many `epochs`, whose epochs took `seconds` each, one after another. Every epoch
    counts as the median of its phase, so that one that the machine held up counts for nothing."""
    ends = list(itertools.accumulate(epochs))
    medians = [statistics.median(seconds[end - count : end]) for end, count in zip(ends, epochs, strict=True)]
    return sum(median * count for median, count in zip(medians, epochs, strict=True))


def _measure(job: Job, spec: MeasureSpec, workspace: Workspace) -> tuple[dict[str, Any], dict[str, bytes]]:
    parts = spec.model
    defense: Defense = workspace.component("defense", parts.defense)
    digest = None
    if parts.user_model or not defense.trains:
        _, model = models.finished(workspace.store, workspace.registry, job.id, parts, workspace.data_folder)
        digest = object_hash(model) if job.calls_function else None
    else:
        model = models.untrained(workspace.registry, parts, 0)
    model = ready(defense, model, spec.shape, workspace.runtime)
    plain = None
    if parts.architecture:
        architecture: Architecture = workspace.component("architecture", parts.architecture)
        with seeded("measure"):
            plain = architecture.build(spec.shape, spec.num_classes)
            fit(plain, View(plain), spec.shape, workspace.runtime)

    def may_miss(batch: int, error: Exception) -> bool:
        reason = _failure_of_model(job, error)
        if reason is not None:
            LOG.warning("%s has no latency at batch %d, where the model fails: %s", job.label, batch, reason)
        return reason is not None

    with seeded("measure"):
        result = measuring.measure(
            defense, model, spec.setting, spec.shape, workspace.runtime, spec.measure.resolved(), plain, may_miss
        )
    if job.calls_function:
        measured = model.at(spec.setting.values) if isinstance(model, Tuned) else model
        unlisted = unlisted_parameters(measured)
        if undecided := undecided_constants(measured):
            message = (
                "%s: its parameter count is a lower bound: %d more numbers of its frozen TorchScript may be parameters"
            )
            LOG.warning(message, job.label, undecided)
        result["parameters"] += sum(parameter.numel() for parameter in unlisted)
        result["nonzero_parameters"] += sum(int(parameter.count_nonzero()) for parameter in unlisted)
    # How many parameters are zero depends on the weights too.
    return {**result, **({"model_sha256": digest} if digest else {})}, {}


def versions() -> dict[str, str]:
    """What software a figure was computed with."""
    return {
        "robuststack": robuststack.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def machine(hardware: Hardware, devices: Sequence[str] = ()) -> dict[str, Any]:
    """What hardware a figure was computed with: `devices`, if it was several."""
    name = " and ".join(devices) or device_name(hardware)
    return {"device": name, "threads": torch.get_num_threads(), "workers": hardware.workers}
