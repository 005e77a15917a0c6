"""STL-10 from small binary files of the true format."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry
from robuststack_plugins.datasets.stl10 import Stl10

STL10 = torchvision.datasets.STL10
SIZES = {"train": 20, "validation": 10, "test": 12}
LABELS = np.random.RandomState(0).permutation(np.arange(30) % 10)
"""Labels of the training images: three of each class, in no order."""


def images(count: int, first: int) -> np.ndarray:
    """uint8 [N, 3, 96, 96]; the first red pixel numbers the image."""
    made = np.random.RandomState(first).randint(0, 256, (count, 3, 96, 96)).astype(np.uint8)
    made[:, 0, 0, 0] = np.arange(first, first + count)
    return made


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small STL-10, which torchvision and the dataset are made to expect: columns before rows, labels from 1."""
    made = {
        "train_X.bin": images(30, 0).transpose(0, 1, 3, 2).tobytes(),
        "train_y.bin": (LABELS + 1).astype(np.uint8).tobytes(),
        "test_X.bin": images(12, 100).transpose(0, 1, 3, 2).tobytes(),
        "test_y.bin": (np.arange(12) % 10 + 1).astype(np.uint8).tobytes(),
    }
    listed = [[name, hashlib.md5(content).hexdigest()] for name, content in made.items()]
    monkeypatch.setattr(STL10, "train_list", [*listed[:2], ["unlabeled_X.bin", "0" * 32]])
    monkeypatch.setattr(STL10, "test_list", listed[2:])
    monkeypatch.setattr(Stl10, "sizes", SIZES)
    return made


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    (tmp_path / "stl10_binary").mkdir()
    for name, content in files.items():
        (tmp_path / "stl10_binary" / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def stl10() -> rs.Dataset:
    return Registry().create("dataset", "stl10")


def numbers(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_the_last_training_images_of_each_class_validate(stl10, folder):
    splits = stl10.load(folder)
    last = sorted(int(np.flatnonzero(np.equal(LABELS, label))[-1]) for label in range(10))
    assert numbers(splits["validation"].images) == last
    assert numbers(splits["train"].images) == [index for index in range(30) if index not in last]
    assert numbers(splits["test"].images) == list(range(100, 112))


def test_images_keep_their_labels(stl10, folder):
    splits = stl10.load(folder)
    for split in ("train", "validation"):
        assert splits[split].labels.tolist() == LABELS[numbers(splits[split].images)].tolist()
    assert splits["test"].labels.tolist() == [index % 10 for index in range(12)]
    assert sorted(splits["validation"].labels) == list(range(10))


def test_pixels_keep_their_place(stl10, folder):
    assert np.array_equal(stl10.load(folder)["test"].images, images(12, 100))


def test_the_engine_accepts_what_is_loaded(stl10, folder):
    data = load(stl10, folder, torch.device("cpu"))
    assert {split: len(part) for split, part in data.items()} == SIZES
    assert data["train"].batch(slice(0, 2))[0].shape == (2, 3, 96, 96)


def test_the_official_archive_is_unpacked(stl10, files, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"stl10_binary/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (tmp_path / "stl10_binary.tar.gz").write_bytes(buffer.getvalue())
    known = f"md5:{hashlib.md5(buffer.getvalue()).hexdigest()}"
    monkeypatch.setattr(Stl10, "archive", rs.Download("http://127.0.0.1:9/x", known, "stl10_binary.tar.gz"))
    assert numbers(stl10.load(tmp_path)["test"].images) == list(range(100, 112))


@pytest.mark.parametrize("damaged", ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"])
def test_a_truncated_file_is_refused(stl10, folder, damaged, monkeypatch):
    monkeypatch.setattr(Stl10, "archive", rs.Download("http://127.0.0.1:9/x", "md5:0", "stl10_binary.tar.gz"))
    path = folder / "stl10_binary" / damaged
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError) as error:
        stl10.load(folder)
    target = folder / "stl10_binary.tar.gz"
    assert str(error.value).startswith(f"dataset 'stl10' is not in {folder} (stl10_binary.tar.gz is not there)")
    assert str(error.value).endswith(f"put the file at {target} (md5:0) and run again")


def test_torchvision_expects_the_archive_that_is_declared(stl10):
    (download,) = stl10.downloads()
    assert (download.url, download.hash, download.path) == (STL10.url, f"md5:{STL10.tgz_md5}", STL10.filename)
    assert stl10.fingerprint == download.hash


def test_the_declared_facts(stl10):
    assert [stl10.size(split) for split in ("train", "validation", "test")] == [4_500, 500, 8_000]
    assert stl10.shape == (3, 96, 96)
    assert stl10.num_classes == 10
    assert stl10.eps == 8 / 255
    assert stl10.augmentation == rs.Augmentation(pad=4, flip=True)
