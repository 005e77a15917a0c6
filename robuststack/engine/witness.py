"""What a user's model says of one block of a job, the last whole one: weights and source code do not tell all of it.

It may read a file, or call code that no digest follows, such as a library's that a program has patched, and only some
images may show it. So a stored result is taken only if the model gives that block the labels that it gave it then:
clean images, and attacked ones, which an attack job keeps for this. What follows gradients is taken only if those are
as they were, too: a backward pass may change while every label stays. And a model that gives other labels after a job
than before it keeps a state, and its figures would depend on what it saw first.
"""

from __future__ import annotations

import hashlib

import safetensors.torch
import torch
from torch import Tensor

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.fitted import same
from robuststack.engine.judge import judge_block
from robuststack.engine.random_streams import seeded
from robuststack.engine.workspace import Made, Workspace
from robuststack.layers.full_float32 import full_float32
from robuststack.plan.job import LABELS, Job
from robuststack.plan.specs import AttackSpec, BlocksSpec, JudgeSpec, parse_spec

WITNESS = "witness.safetensors"
"""The file of an attack job on a function's model: `images` of that block, and the `labels` [draws, n] of the model."""
STREAM = "witness"
DRAWS = 2
"""At a randomised point; the noise is that of the stream."""
GRADIENT_AGREEMENT = 1e-2
"""Largest difference of gradients that are meant to be the same, relative to the largest."""
GRADIENT_IMAGES, PROJECTIONS = 8, 4
"""Of how many images of the block gradients are looked at, and how many numbers stand for the gradient of each."""


def clean_labels(spec: BlocksSpec, made: Made, workspace: Workspace) -> str:
    """A hash of the labels that the model gives the block of clean images."""
    return hashlib.sha256(_labels(spec, made, workspace, _clean(spec, made, workspace)).numpy().tobytes()).hexdigest()


def attacked_labels(job: Job, workspace: Workspace, images: Tensor) -> bytes:
    """The content of `WITNESS` for an attack job's images [N, C, H, W]."""
    assert isinstance(job.spec, AttackSpec)
    seen = images[_place(job.spec, len(images))].clone()
    labels = _labels(job.spec, workspace.made(job.spec, job.digest), workspace, seen)
    return safetensors.torch.save({"images": seen, "labels": labels})


def gradients(spec: BlocksSpec, made: Made, workspace: Workspace) -> list[list[float]]:
    """What stands for the gradients of the model's logits with respect to the first images [n, C, H, W] of the block:
    projections [n, 4] onto fixed directions. Empty if the job follows none, or the model gives none."""
    if isinstance(spec, JudgeSpec):
        return []
    if isinstance(spec, AttackSpec) and not workspace.component("attack", spec.attack).needs_gradients:
        return []
    view, _ = workspace.view(made, spec)
    x = _placed(_clean(spec, made, workspace)[:GRADIENT_IMAGES], workspace).requires_grad_()
    try:
        with frozen_eval(view), full_float32(x.device), seeded(spec.seed, STREAM), torch.enable_grad():
            logits = view(x).float()
            scale = torch.linspace(1, 2, logits.shape[1], device=x.device)
            (gradient,) = torch.autograd.grad((logits.nan_to_num() * scale).sum(), x)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # It computes outside of torch, say.
        return []
    rows = gradient.float().nan_to_num().flatten(1).double().cpu()  # In this order, for numbers that JSON can hold.
    directions = torch.randn(rows.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(0), dtype=rows.dtype)
    return (rows @ directions).tolist()  # type: ignore[no-any-return]


def same_gradients(stored: object, now: list[list[float]]) -> bool:
    """Whether gradients are those that a result keeps, but for rounding. An older result keeps none."""
    if not isinstance(stored, list):
        return False
    before, after = torch.tensor(stored, dtype=torch.float64), torch.tensor(now, dtype=torch.float64)
    return same(after, before, GRADIENT_AGREEMENT)


def says_the_same(job: Job, workspace: Workspace) -> bool:
    """Whether the model gives the block of a stored attack or judge job, with the same noise, the labels that it gave it
    then."""
    spec, store = job.spec, workspace.store
    assert isinstance(spec, AttackSpec | JudgeSpec)
    attack = job.id if isinstance(spec, AttackSpec) else spec.images
    if attack is not None:
        result = store.result(attack)
        if WITNESS not in result["files"]:
            return False
        attacked = parse_spec(result)
        assert isinstance(attacked, AttackSpec)
        if (attacked.selection, attacked.block) != (spec.selection, spec.block):
            # Its block is of other images, which nobody keeps; the attack job has answered for itself.
            return True
    made = workspace.made(spec, job.digest)
    kept = safetensors.torch.load(store.read(attack, WITNESS)) if attack else {}
    images = kept["images"] if attack else _clean(spec, made, workspace)
    if isinstance(spec, AttackSpec):
        return torch.equal(kept["labels"], _labels(spec, made, workspace, images))
    labels = safetensors.torch.load(store.read(job.id, LABELS))["labels"]
    place = _place(spec, labels.shape[1])
    again = judge_block(
        workspace.view(made, spec)[0], _placed(images, workspace), spec.draws,
        seed=spec.seed, stream=spec.stream, number=place.start // spec.block, eight_bit=spec.eight_bit,
    )  # fmt: skip
    return torch.equal(labels[:, place], again.cpu().to(labels.dtype))


def _labels(spec: BlocksSpec, made: Made, workspace: Workspace, images: Tensor) -> Tensor:
    """The labels int64 [draws, n] of the job's setting, in host memory."""
    draws = DRAWS if spec.draws_noise else 1
    view, _ = workspace.view(made, spec)
    return judge_block(view, _placed(images, workspace), draws, seed=spec.seed, stream=STREAM, number=0).cpu()


def _placed(images: Tensor, workspace: Workspace) -> Tensor:
    """Laid out as `Data.batch` does it: another layout is another rounding."""
    return images.to(workspace.runtime.device).to(memory_format=torch.channels_last, copy=True)


def _clean(spec: BlocksSpec, made: Made, workspace: Workspace) -> Tensor:
    data = workspace.selected(made.spec.dataset, spec.selection)
    return data.batch(_place(spec, len(data)))[0]


def _place(spec: BlocksSpec, count: int) -> slice:
    """Where the block lies among `count` images. The last one of all may hold a single image, which tells nothing."""
    number = max(count // spec.block, 1) - 1
    return slice(number * spec.block, (number + 1) * spec.block)
