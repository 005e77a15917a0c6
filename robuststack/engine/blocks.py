"""Attack and judge jobs, block by block.

`run_block` makes one block from the job's specification and the block's number, and from nothing else: the blocks of a job
may run in any order, in any process, today or after a kill, and come out the same. `assemble` makes the job's result and
files of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from robuststack.engine.attack import Seen, attack_block, checks
from robuststack.engine.data import Data
from robuststack.engine.judge import judge_block
from robuststack.engine.runtime import device_name
from robuststack.engine.witness import clean_labels
from robuststack.engine.workspace import Made, Workspace
from robuststack.errors import StoreError
from robuststack.plan.job import IMAGES, LABELS, Job
from robuststack.plan.specs import AttackSpec, BlocksSpec, ImageSelection, JudgeSpec, parse_spec
from robuststack.plugin.attack import Attack
from robuststack.plugin.dataset import Dataset
from robuststack.running.blocks import devices, sizes, stored_basis
from robuststack.running.store import Block

SEEN = tuple(field.name for field in fields(Seen))
"""The facts of an attacked block that `checks` reads."""


def basis(job: Job, workspace: Workspace) -> dict[str, Any]:
    """What, beside its specification and source code, decides what a job comes to: the hashes of the weights that it scores
    and of the images that it judges, of the labels that a game reads, the draws that were chosen for its attacks and, of a
    model that a function returned, what it says of one block."""
    spec = job.spec
    assert isinstance(spec, BlocksSpec)
    made = workspace.made(spec, job.digest)
    known = stored_basis(spec, workspace.store)
    if job.calls_function:
        known["witness"] = clean_labels(spec, made, workspace)
        known["model_sha256"] = workspace.model_hash
    return known


def block_sizes(job: Job, workspace: Workspace) -> list[int]:
    """How many images each block of the job has."""
    spec = job.spec
    assert isinstance(spec, BlocksSpec)
    return sizes(spec, len(workspace.selected(workspace.made(spec).spec.dataset, spec.selection)))


def make_blocks(job: Job, workspace: Workspace, numbers: Sequence[int]) -> None:
    """Make some blocks (0-based) of an attack or judge job, and store each as it is finished."""
    stamp = {"digest": job.digest, **basis(job, workspace)}
    for number in numbers:
        workspace.store.save_block(job.id, run_block(job, workspace, number), stamp)


def run_block(job: Job, workspace: Workspace, number: int) -> Block:
    """Block `number` (0-based) of an attack or judge job.

    Raises:
        StoreError: the images it is to judge are gone or damaged.
        PluginError: the attack breaks its contract.
    """
    started = time.perf_counter()
    spec = _spec(job)
    made = workspace.made(spec, job.digest)
    data = workspace.selected(made.spec.dataset, spec.selection)
    view, folding = workspace.view(made, spec)
    rows = slice(number * spec.block, (number + 1) * spec.block)
    if isinstance(spec, AttackSpec):
        x, y = data.batch(rows)
        attack: Attack = workspace.component("attack", spec.attack)
        if spec.draws_from:
            attack = attack.with_draws(workspace.store.result(spec.draws_from)["draws"] * (spec.draws_times or 1))
        images, seen = attack_block(
            view, x, y, attack, spec.threat, workspace.runtime,
            seed=spec.seed, number=number, early_stop=spec.early_stop, folding=folding,
        )  # fmt: skip
        content = safetensors.torch.save({"images": images.cpu().contiguous()})
        facts: dict[str, Any] = asdict(seen)
    else:
        if spec.images:
            data = Data(_judged(job.id, spec.images, spec.selection, made, workspace), data.labels)
        x, y = data.batch(rows)
        labels = judge_block(
            view, x, spec.draws, seed=spec.seed, stream=spec.stream, number=number, eight_bit=spec.eight_bit
        )
        right = int((labels == y).sum())
        kept = labels.cpu().numpy().astype(label_type(workspace, made.spec.dataset))
        content = safetensors.numpy.save({"labels": kept})
        facts = {"right": right, "judged": labels.numel()}
    facts |= {"seconds": time.perf_counter() - started, "device": device_name(workspace.hardware)}
    return Block(number, content, facts)


def _judged(job: str, attack: str, selection: ImageSelection, made: Made, workspace: Workspace) -> Tensor:
    """The images of an attack job that a judge job judges: all of them, or those of its own smaller selection.

    Raises:
        StoreError: the attack job does not have them.
    """
    images = workspace.images(attack)[0]
    crafted = parse_spec(workspace.store.result(attack))
    assert isinstance(crafted, AttackSpec)
    labels = workspace.data(made.spec.dataset)[selection.split].labels.cpu().numpy()
    there, wanted = crafted.selection.rows(labels), selection.rows(labels)
    if len(images) != len(there) or not np.isin(wanted, there).all():
        raise StoreError(f"{attack} has {len(images)} images, and not all of the {len(wanted)} that {job} is to judge")
    return images if len(wanted) == len(there) else images[torch.from_numpy(np.searchsorted(there, wanted))]


def assemble(
    job: Job, workspace: Workspace, facts: Sequence[dict[str, Any]], content: Callable[[int], bytes]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The result and the files of a job whose blocks are all there: their facts in order, and their content by number."""
    spec = _spec(job)
    dataset = workspace.made(spec).spec.dataset
    data = workspace.selected(dataset, spec.selection)
    result = {
        "n": len(data),
        "seconds": sum(block["seconds"] for block in facts),
        "block_seconds": [round(block["seconds"], 4) for block in facts],
        "devices": devices(facts),
    }
    if isinstance(spec, AttackSpec):
        shape = workspace.component("dataset", dataset).shape
        images = torch.empty(len(data), *shape)
        for number in range(len(facts)):
            images[number * spec.block : (number + 1) * spec.block] = _images(content(number))
        seen = [Seen(**{name: block[name] for name in SEEN}) for block in facts]
        return {**result, "checks": checks(seen)}, {IMAGES: safetensors.torch.save({"images": images})}
    labels = np.concatenate([safetensors.numpy.load(content(number))["labels"] for number in range(len(facts))], 1)
    truth = data.labels.cpu().numpy().astype(labels.dtype)
    result["accuracy"] = 100 * float((labels == truth).mean())
    return result, {LABELS: safetensors.numpy.save({"labels": labels, "truth": truth})}


def _images(content: bytes) -> Tensor:
    return safetensors.torch.load(content)["images"]


def label_type(workspace: Workspace, dataset: Any) -> np.dtype[Any]:
    """The smallest signed integers that hold every class."""
    described: Dataset = workspace.component("dataset", dataset)
    return np.min_scalar_type(-described.num_classes)


def _spec(job: Job) -> AttackSpec | JudgeSpec:
    assert isinstance(job.spec, AttackSpec | JudgeSpec)
    return job.spec
