"""CIFAR-10 and CIFAR-100 from small files of the true formats: found, split, refused when damaged or absent."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torchvision

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry

SIZES = {"train": 9, "validation": 1, "test": 4}


@dataclass(frozen=True)
class Format:
    """How one of the two sets lies on disk."""

    classes: int
    folder: str
    train: Mapping[str, int]
    """Training files and how many of the ten images each holds."""
    test: str
    meta: str
    labels: str
    names: str

    @property
    def source(self) -> type:
        return getattr(torchvision.datasets, f"CIFAR{self.classes}")


FORMATS = {
    "cifar10": Format(10, "cifar-10-batches-py", {f"data_batch_{index}": 2 for index in range(1, 6)}, "test_batch",
                      "batches.meta", "labels", "label_names"),
    "cifar100": Format(100, "cifar-100-python", {"train": 10}, "test", "meta", "fine_labels", "fine_label_names"),
}  # fmt: skip


def batch(count: int, first: int, form: Format) -> bytes:
    data = np.random.RandomState(first).randint(0, 256, (count, 3072)).astype(np.uint8)
    data[:, 0] = np.arange(first, first + count)  # The first red pixel numbers the image.
    coarse = {"coarse_labels": [0] * count} if form.classes == 100 else {}
    return pickle.dumps(
        {"data": data, form.labels: [(first + index) % form.classes for index in range(count)], **coarse}
    )


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def form(name: str) -> Format:
    return FORMATS[name]


@pytest.fixture
def dataset(name: str) -> rs.Dataset:
    return Registry().create("dataset", name)


@pytest.fixture
def files(form: Format, dataset: rs.Dataset, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a small set, which torchvision and the dataset are made to expect."""
    made: dict[str, bytes] = {}
    first = 0
    for file, count in form.train.items():
        made[file] = batch(count, first, form)
        first += count
    made[form.test] = batch(SIZES["test"], 100, form)
    made[form.meta] = pickle.dumps({form.names: [f"class{index}" for index in range(form.classes)]})
    hashes = {file: hashlib.md5(content).hexdigest() for file, content in made.items()}
    monkeypatch.setattr(form.source, "train_list", [[file, hashes[file]] for file in form.train])
    monkeypatch.setattr(form.source, "test_list", [[form.test, hashes[form.test]]])
    monkeypatch.setattr(form.source, "meta", {"filename": form.meta, "key": form.names, "md5": hashes[form.meta]})
    monkeypatch.setattr(type(dataset), "sizes", SIZES)
    return made


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The downloads that were tried; each fails as it does without a network."""
    tried: list[str] = []

    def fail(url: str, *args: object, **kwargs: object) -> None:
        tried.append(url)
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    return tried


def place(folder: Path, form: Format, files: Mapping[str, bytes]) -> Path:
    (folder / form.folder).mkdir(parents=True)
    for file, content in files.items():
        (folder / form.folder / file).write_bytes(content)
    return folder


def numbers(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_files_that_are_there_are_used_without_a_download(dataset, form, files, attempts, tmp_path):
    splits = dataset.load(place(tmp_path, form, files))
    assert attempts == []
    assert {split: numbers(part.images) for split, part in splits.items()} == {
        "train": list(range(9)), "validation": [9], "test": [100, 101, 102, 103],
    }  # fmt: skip
    for part in splits.values():
        assert part.labels.tolist() == [number % form.classes for number in numbers(part.images)]


def test_pixels_keep_their_place(dataset, form, files, attempts, tmp_path):
    splits = dataset.load(place(tmp_path, form, files))
    raw = pickle.loads(files[form.test])["data"].reshape(4, 3, 32, 32)
    assert np.array_equal(splits["test"].images, raw)


def test_the_engine_accepts_what_is_loaded(dataset, form, files, attempts, tmp_path):
    import torch

    data = load(dataset, place(tmp_path, form, files), torch.device("cpu"))
    x, y = data["test"].batch(slice(0, 2))
    assert x.shape == (2, 3, 32, 32)
    assert y.tolist() == [100 % form.classes, 101 % form.classes]


def test_the_official_archive_is_unpacked(dataset, form, files, attempts, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"{form.folder}/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    official = type(dataset).archive
    (tmp_path / official.path).write_bytes(buffer.getvalue())
    known = f"md5:{hashlib.md5(buffer.getvalue()).hexdigest()}"
    monkeypatch.setattr(type(dataset), "archive", rs.Download(official.url, known, official.path))
    assert numbers(dataset.load(tmp_path)["train"].images) == list(range(9))
    assert attempts == []


@pytest.mark.parametrize("placed", [False, True])
def test_absent_data_names_where_it_comes_from_and_where_it_belongs(
    dataset, name, form, files, attempts, tmp_path, placed
):
    folder, official = tmp_path / "data", dataset.downloads()[0]
    if placed:
        place(folder, form, {form.test: files[form.test]})
    with pytest.raises(DatasetError) as error:
        dataset.load(folder)
    message = str(error.value)
    assert attempts == [official.url]
    assert message.startswith(f"dataset '{name}' is not in {folder}")
    for part in (official.url, "Network is unreachable", str(folder / official.path), official.hash):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("which", ["train", "test", "meta"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_truncated_file_is_refused(dataset, form, files, attempts, tmp_path, which, damage):
    file = list(form.train)[-1] if which == "train" else getattr(form, which)
    with pytest.raises(DatasetError, match="could not be downloaded from"):
        dataset.load(place(tmp_path, form, {**files, file: damage(files[file])}))


def test_torchvision_expects_the_archive_that_is_declared(dataset, form):
    (download,) = dataset.downloads()
    official = form.source
    assert (download.url, download.hash, download.path) == (
        official.url, f"md5:{official.tgz_md5}", official.filename,
    )  # fmt: skip
    assert dataset.fingerprint == download.hash


def test_the_declared_facts(dataset, form):
    assert [dataset.size(split) for split in ("train", "validation", "test")] == [45_000, 5_000, 10_000]
    assert dataset.shape == (3, 32, 32)
    assert dataset.num_classes == form.classes
    assert dataset.eps == 8 / 255
    assert dataset.augmentation == rs.Augmentation(pad=4, flip=True)
