"""Attack and judge jobs, block by block.

`run_block` makes one block from the job's specification and the block's number, and from nothing else: the blocks of a job
may run in any order, in any process, today or after a kill, and come out the same. `assemble` makes the job's result and
files of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from robuststack.engine.attack import Seen, attack_block, checks
from robuststack.engine.data import Data
from robuststack.engine.judge import judge_block
from robuststack.engine.witness import clean_labels
from robuststack.engine.workspace import Made, Workspace
from robuststack.errors import StoreError
from robuststack.plan.job import IMAGES, LABELS, Job
from robuststack.plan.specs import AttackSpec, BlocksSpec, GameSpec, ImageSelection, JudgeSpec, ProbeSpec, parse_spec
from robuststack.plugin.attack import Attack
from robuststack.plugin.dataset import Dataset
from robuststack.running.store import Block


def basis(job: Job, workspace: Workspace) -> dict[str, Any]:
    """What, beside its specification and source code, decides what a job comes to: the hashes of the weights that it scores
    and of the images that it judges, of the labels that a game reads, the draws that were chosen for its attacks and, of a
    model that a function returned, what it says of the last block."""
    spec = job.spec
    assert isinstance(spec, BlocksSpec)
    made = workspace.made(spec, job.digest)
    known: dict[str, Any] = {"model_sha256": made.weights}
    if job.calls_function:
        known["witness"] = clean_labels(spec, made, workspace)
        known["model_sha256"] = workspace.model_hash
    if isinstance(spec, JudgeSpec) and spec.images:
        known["images_sha256"] = workspace.store.result(spec.images)["images_sha256"]
    chosen = _draws_from(spec)
    if chosen:
        known["draws_from"] = {probe: workspace.store.result(probe)["draws"] for probe in chosen}
    if isinstance(spec, GameSpec):
        known["labels_sha256"] = {judge: workspace.store.result(judge)["files"][LABELS] for judge in spec.judged}
    return known


def _draws_from(spec: BlocksSpec) -> list[str]:
    """The jobs that choose how many draws its attacks average over, each once."""
    if isinstance(spec, GameSpec):
        return list(dict.fromkeys(row.draws_from for row in spec.rows if row.draws_from))
    return [spec.draws_from] if isinstance(spec, AttackSpec | ProbeSpec) and spec.draws_from else []


def block_sizes(job: Job, workspace: Workspace) -> list[int]:
    """How many images each block of the job has."""
    spec = job.spec
    assert isinstance(spec, BlocksSpec)
    count = len(workspace.selected(workspace.made(spec).spec.dataset, spec.selection))
    return [min(spec.block, count - start) for start in range(0, count, spec.block)]


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
    return Block(number, content, {**facts, "seconds": time.perf_counter() - started})


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
    seconds = sum(block["seconds"] for block in facts)
    result = {"n": len(data), "seconds": seconds, "block_seconds": [round(block["seconds"], 4) for block in facts]}
    if isinstance(spec, AttackSpec):
        shape = workspace.component("dataset", dataset).shape
        images = torch.empty(len(data), *shape)
        for number in range(len(facts)):
            images[number * spec.block : (number + 1) * spec.block] = _images(content(number))
        seen = [Seen(**{key: value for key, value in block.items() if key != "seconds"}) for block in facts]
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
