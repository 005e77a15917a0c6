"""The clean images behind a bundle: whether they are there, their hash, and what they say of the adversarial ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robuststack.errors import RobustStackError
from robuststack.evidence.bundle.records import DataRecord
from robuststack.evidence.checks.box import rounding
from robuststack.leaderboard.board_labels import selection_name
from robuststack.plan.components import component
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, BlocksSpec, ComponentSpec, ImageSelection, JudgeSpec, TrainSpec
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.download import Download
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from robuststack.engine.data import Data

IMAGES_AT_A_TIME = 500


@dataclass(frozen=True)
class Scored:
    """Clean images that jobs score."""

    name: str
    """Of the selection, as labels have it."""
    dataset: ComponentSpec
    selection: ImageSelection


def scored_images(plan: Plan, results: Mapping[str, Mapping[str, Any]], jobs: Store) -> dict[str, Scored]:
    """Every selection of images that a judge job of the plan scores, by name."""
    selections: dict[str, Scored] = {}
    for job in plan.jobs:
        if isinstance(job.spec, JudgeSpec):
            name = selection_name(jobs, results[job.id])
            selections.setdefault(name, Scored(name, dataset_of(plan, job.spec), job.spec.selection))
    return selections


def dataset_of(plan: Plan, spec: BlocksSpec) -> ComponentSpec:
    """The dataset of a job's images."""
    if spec.foreign is not None:
        return spec.foreign.dataset
    trained = plan.by_id[spec.model].spec
    assert isinstance(trained, TrainSpec)
    return trained.model.dataset


def data_record(scored: Scored, registry: Registry, folder: Path) -> DataRecord:
    """The record of the images, which are loaded without torch.

    Raises:
        DatasetError: they cannot be had.
    """
    dataset: Dataset = component(registry, "dataset", scored.dataset)
    split = dataset.load(folder)[scored.selection.split]
    rows = scored.selection.rows(split.labels)
    return DataRecord(
        dataset=scored.dataset.name,
        selection=scored.name,
        n=len(rows),
        sha256=data_hash(split.images[rows], split.labels[rows]),
    )


def data_hash(images: np.ndarray, labels: np.ndarray) -> str:
    """The hash that `DataRecord.sha256` describes, of images uint8 [n, C, H, W] or float32 in [0, 1], and labels [n]."""
    digest = hashlib.sha256()
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        piece = images[start : start + IMAGES_AT_A_TIME]
        x = piece.astype("<f4") / np.float32(255) if piece.dtype == np.uint8 else piece.astype("<f4").clip(0, 1)
        digest.update(np.ascontiguousarray(x).tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def why_not_there(registry: Registry, spec: ComponentSpec, folder: Path) -> str:
    """Why a dataset cannot be loaded from `folder` without a network, as the end of a sentence; empty if it can."""
    if any(place == "" for place in spec.places.values()):
        return "it is the author's own; name with --data the folder that holds it"
    try:
        dataset: Dataset = component(registry, "dataset", spec)
        missing = [file.path for file in dataset.downloads() if not _is_there(folder, file)]
        if missing and not spec.stand_in:
            return f"{folder} has no {missing[0]} of the known hash"
        return "" if dataset.fingerprint == spec.fingerprint else "what is there has another fingerprint"
    except (RobustStackError, OSError) as error:
        return str(error)


def _is_there(folder: Path, file: Download) -> bool:
    """Whether a file that would be downloaded lies there already."""
    path = folder / file.path
    algorithm, _, expected = file.hash.partition(":")
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return digest.hexdigest() == expected


def image_problems(images: Tensor, shape: tuple[int, ...], n: int) -> Iterator[str]:
    """What is wrong with adversarial images float32 [n, C, H, W] whatever they were made of; `shape` is (C, H, W), empty if
    nobody knows."""
    import torch

    if images.dtype != torch.float32 or len(images) != n or (shape and tuple(images.shape[1:]) != shape):
        yield f"they are {images.dtype} {list(images.shape)}; {n} images float32 {list(shape) or ''} are needed"
    elif not torch.isfinite(images).all():
        yield "a pixel is not finite"
    elif images.min() < 0 or images.max() > 1:
        yield f"values go from {images.min():.6g} to {images.max():.6g}, outside of [0, 1]"


def ball_problems(images: Tensor, data: Data, spec: AttackSpec) -> Iterator[str]:
    """Whether adversarial images leave the ball around the clean ones by more than float32 rounds."""
    from robuststack.attacks.ball import Ball

    farthest, slack = 0.0, 0.0
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        rows = slice(start, start + IMAGES_AT_A_TIME)
        x = data.batch(rows)[0].cpu()
        ball = Ball.of(x, spec.threat)
        slack = max(ball.slack, rounding(spec.threat))
        farthest = max(farthest, float(ball.length(images[rows] - x).max()))
    if farthest > spec.threat.eps + slack:
        yield f"an image is {farthest:.6g} from the clean one in {spec.threat.norm}, and eps is {spec.threat.eps:.6g}"
