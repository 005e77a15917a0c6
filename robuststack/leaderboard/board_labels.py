"""The labels behind a leaderboard, in one file beside it: what every judge job predicted, image by image and draw by draw.

`<suite>.labels.safetensors` holds a tensor for each judge job, named by its id: signed integers [draws, n], -1 if the
logits named no class. The judge jobs behind the matrix of a game are there too, and what each round of attacks on its
mixture came to at each setting, as `<game job>/<round>/<setting>`. The true labels stand once for each selection of
images, as `truth/<dataset>-<hash>` [n]; the file's metadata says under `truth`, as JSON, which of them belongs to which
job. Anyone can test rows against each other, and read old images anew without a new attack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.row import Row
from robuststack.plan.specs import JudgeSpec, TrainSpec, parse_spec
from robuststack.running.atomic_files import write_bytes
from robuststack.running.job_store import JobStore
from robuststack.running.store import Store

_Names = TypeAdapter(dict[str, str])
LABELS = "labels.safetensors"
TRUTH = "truth"


@dataclass(frozen=True)
class Labels:
    """What a judge job predicted: `labels`, signed integers [draws, n], -1 for no class; `truth` [n]; and the name of the
    selection of images that both are of."""

    labels: np.ndarray
    truth: np.ndarray
    selection: str

    @property
    def fit(self) -> bool:
        """Whether there is a label of each image in every draw, and its true one."""
        arrays = (self.labels, self.truth)
        return (
            all(np.issubdtype(array.dtype, np.signedinteger) for array in arrays)
            and (self.labels.ndim, self.truth.ndim) == (2, 1)
            and self.labels.shape[1:] == self.truth.shape
            and self.labels.size > 0
        )

    @property
    def correct(self) -> np.ndarray:
        """bool [draws, n]"""
        return np.asarray(self.labels == self.truth)


def comparable(labels: Mapping[str, Labels]) -> None:
    """Refuse labels behind one figure, by judge job, that are not of as many images and draws.

    Raises:
        LeaderboardError: two of their shapes differ.
    """
    shapes = {judged.labels.shape: job for job, judged in labels.items()}
    if len(shapes) > 1:
        told = " and ".join(f"{[*shape]} of {job}" for shape, job in list(shapes.items())[:2])
        raise LeaderboardError(f"labels behind one figure differ in draws or images: {told}; run the suite again")


def read_labels(store: JobStore, job: str, result: Mapping[str, Any] | None = None) -> Labels:
    """The labels of a judge job, of the given result or else of the stored one.

    Raises:
        StoreError: they are not those of that result.
    """
    result = store.result(job) if result is None else result
    return Labels(*label_arrays(store, job, result), selection_name(store, result))


def label_arrays(store: JobStore, job: str, result: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """What a judge job predicted, signed integers [draws, n], and the true labels [n], without their selection's name.

    Raises:
        StoreError: they are not those of that result.
    """
    kept = _kept(store, job, result)
    return kept["labels"], kept["truth"]


def labels_hash(results: Iterable[Mapping[str, Any]]) -> str:
    """A hash of what judge jobs predicted, from their results, in any order."""
    files = sorted((result["id"], result["files"][LABELS]) for result in results)
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def _kept(store: JobStore, job: str, result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    from safetensors.numpy import load as unpacked

    return unpacked(store.read(job, LABELS, result))


def selection_name(store: JobStore, result: Mapping[str, Any]) -> str:
    """A name for the images of a judge job, the same on every machine: the dataset, and what of it."""
    spec = parse_spec(result)
    assert isinstance(spec, JudgeSpec)
    model = spec.foreign
    if model is None:
        trained = parse_spec(store.result(spec.model))
        assert isinstance(trained, TrainSpec)
        model = trained.model
    text = json.dumps([model.dataset.identity(), spec.selection.identity()], sort_keys=True)
    return f"{model.dataset.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def collect(
    rows: Iterable[Row],
    store: Store,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    games: Iterable[Game] = (),
) -> dict[str, Labels]:
    """The labels behind the rows and the games as the store keeps them, by judge job or as `Game.cells` names them.

    Raises:
        StoreError: they are not those of `results`, which the rows were made from.
    """
    results = results or {}
    played = {game.jobs[run]: cells for game in games for run, cells in game.cells.items()}
    names = [name for cells in played.values() for row in cells for name in row]
    judges = dict.fromkeys([*(job for row in rows for job in row.jobs.scored()), *(n for n in names if "/" not in n)])
    labels = {job: read_labels(store, job, results.get(job)) for job in judges}
    for job, cells in played.items():
        images = labels[cells[0][0]]
        kept = _kept(store, job, store.result(job) if results.get(job) is None else results[job])
        labels |= {
            name: Labels(kept[name.removeprefix(f"{job}/")], images.truth, images.selection)
            for row in cells
            for name in row
            if name.startswith(f"{job}/")
        }
    return labels


def round_labels(game: str, number: int, place: int) -> str:
    """The name of the labels that round `number` (from 1) of a game job came to at the setting in a place (from 0)."""
    return f"{game}/{number}/{place}"


def path_of(board: Path) -> Path:
    """The file of labels beside a leaderboard's JSON file."""
    return board.with_suffix(".labels.safetensors")


def save(path: Path, labels: Mapping[str, Labels]) -> None:
    """Write them, the same bytes for the same labels.

    Raises:
        StoreError: they cannot be written; what was there before is kept.
    """
    from safetensors.numpy import save as packed

    tensors = {job: np.ascontiguousarray(labels[job].labels) for job in sorted(labels)}
    tensors |= {f"{TRUTH}/{judged.selection}": np.ascontiguousarray(judged.truth) for judged in labels.values()}
    names = {job: labels[job].selection for job in sorted(labels)}
    write_bytes(path, packed(tensors, {TRUTH: json.dumps(names, sort_keys=True)}))


def load(board: Path) -> dict[str, Labels]:
    """The labels beside a leaderboard, by judge job; none where there is no such file.

    Raises:
        LeaderboardError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = path_of(board)
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            names = _Names.validate_json((file.metadata() or {})[TRUTH])
            truths = {name: file.get_tensor(f"{TRUTH}/{name}") for name in set(names.values())}
            read = {job: Labels(file.get_tensor(job), truths[name], name) for job, name in names.items()}
    except ValidationError as error:
        raise LeaderboardError(f"{path} cannot be read as labels: {TRUTH}: {error.errors()[0]['msg']}") from None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise LeaderboardError(f"{path} cannot be read as labels: {error}") from None
    for job, judged in read.items():
        if not judged.fit:
            shapes = f"{judged.labels.dtype} {[*judged.labels.shape]} and {judged.truth.dtype} {[*judged.truth.shape]}"
            raise LeaderboardError(
                f"{path}: {job} and its true labels are not integers [draws, n] and [n], but {shapes}"
            )
    return read


def load_correct(board: Path, rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """Which predictions beside a leaderboard are right: judge job of its rows -> bool [draws, n].

    Raises:
        LeaderboardError: the file of labels cannot be read.
    """
    kept = load(board)
    jobs = {job for row in rows for job in row.jobs.scored()}
    return {job: judged.correct for job, judged in kept.items() if job in jobs}
