"""A part of the images judged again, by the weights in the bundle, on images that its author could not foresee."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robuststack.evidence.decisions import drawn_again
from robuststack.leaderboard.board_labels import read_labels
from robuststack.plan.job import Job
from robuststack.plan.specs import JudgeSpec

if TYPE_CHECKING:
    from torch import Tensor

    from robuststack.engine.data import Data
    from robuststack.engine.workspace import Workspace
    from robuststack.layers.condition import View

SHARE = 0.05
"""Of the images of each judge job."""


@dataclass(frozen=True)
class JudgedAgain:
    """What a judge job's images come to now."""

    job: str
    labels: int
    """How many labels were judged again: images times draws."""
    rounded: int = 0
    """Of these, other labels than the stored ones, by no more than float32 rounds logits."""
    other: int = 0
    """Of these, other labels by more than that."""
    redrawn: bool = False
    """Whether the noise came out otherwise than on the author's machine, and the figures agree within its interval."""
    problem: str = ""
    """Why they disagree; empty if they agree."""


def judge_again(job: Job, result: dict[str, Any], workspace: Workspace) -> JudgedAgain:
    """Judge a share of the images of a judge job, chosen here and now by the operating system's random numbers.

    At a point without noise these are single images. Noise is drawn for a whole block of images: at a randomised point
    whole blocks are judged, on the same random streams, which gives the same labels if the random numbers do. If they do
    not (another device, another torch), accuracy has to agree within the interval of the draws alone.
    """
    spec = job.spec
    assert isinstance(spec, JudgeSpec)
    made = workspace.made(spec)
    data = workspace.selected(made.spec.dataset, spec.selection)
    if spec.images is not None:
        data = type(data)(workspace.images(spec.images)[0], data.labels)
    view, _ = workspace.view(made, spec)
    stored = read_labels(workspace.store, job.id, result).labels
    parts = _blocks(spec, len(data)) if spec.draws_noise else _single_images(spec, len(data))
    new, close = [], []
    for number, rows in parts:
        labels, rounding = _labels(view, data, rows, stored[:, rows], spec, number)
        new.append(labels)
        close.append(rounding)
    chosen = np.concatenate([rows for _, rows in parts])
    told, excused, truth = np.concatenate(new, 1), np.concatenate(close, 1), data.labels.cpu().numpy()[chosen]
    other = told != stored[:, chosen]
    judged = JudgedAgain(
        job.id, told.size, rounded=int((other & excused).sum()), other=int((other & ~excused).sum())
    )  # fmt: skip
    if not judged.other:
        return judged
    redrawn = drawn_again([stored[:, chosen]], [told], truth)
    if spec.draws_noise and _other_numbers(result, spec, workspace) and redrawn.apart <= redrawn.allowed:
        return replace(judged, redrawn=True)
    problem = f"{judged.other} of {told.size} labels of {job.id} are others when they are judged again"
    return replace(judged, problem=problem)


def _single_images(spec: JudgeSpec, n: int) -> list[tuple[int, np.ndarray]]:
    """Some images, in batches no larger than a block."""
    rows = np.sort(secrets.SystemRandom().sample(range(n), math.ceil(SHARE * n)))
    return [(0, rows[start : start + spec.block]) for start in range(0, len(rows), spec.block)]


def _blocks(spec: JudgeSpec, n: int) -> list[tuple[int, np.ndarray]]:
    """Some blocks, whole."""
    blocks = range(math.ceil(n / spec.block))
    numbers = sorted(secrets.SystemRandom().sample(blocks, math.ceil(SHARE * len(blocks))))
    return [(number, np.arange(number * spec.block, min((number + 1) * spec.block, n))) for number in numbers]


def _labels(
    view: View, data: Data, rows: np.ndarray, stored: np.ndarray, spec: JudgeSpec, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """The labels [draws, N] of some images, as a judge job makes them, and where the stored label's logit is the largest to
    float32's rounding."""
    import torch

    from robuststack.attacks.attacked_model import ROUNDING
    from robuststack.attacks.frozen_eval import frozen_eval
    from robuststack.attacks.margins import names_class
    from robuststack.engine.judge import NO_CLASS
    from robuststack.engine.random_streams import seeded
    from robuststack.layers.full_float32 import full_float32

    x, _ = data.batch(torch.from_numpy(rows))
    x = (x * 255).round() / 255 if spec.eight_bit else x
    labels, close = [], []
    with torch.no_grad(), seeded(spec.seed, spec.stream, number), frozen_eval(view), full_float32(x.device):
        for before in torch.from_numpy(stored.astype(np.int64)).to(x.device):
            logits: Tensor = view(x.clone())
            named = names_class(logits)
            labels.append(torch.where(named, logits.argmax(1), NO_CLASS))
            size = logits.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).abs().amax(1)
            at_stored = logits.gather(1, before.clamp(0, logits.shape[1] - 1)[:, None]).squeeze(1)
            known = (before >= 0) & (before < logits.shape[1])
            close.append(named & known & (logits.amax(1) - at_stored <= 2 * ROUNDING["float32"] * size))
    return torch.stack(labels).cpu().numpy(), torch.stack(close).cpu().numpy()


def _other_numbers(result: dict[str, Any], spec: JudgeSpec, workspace: Workspace) -> bool:
    """Whether the same seed may give other random numbers here than it gave where the job ran."""
    import torch

    return bool(result["versions"]["torch"] != torch.__version__ or spec.device != workspace.hardware.kind)
