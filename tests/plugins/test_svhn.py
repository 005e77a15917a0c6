"""SVHN from small .mat files of the true format."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry
from robuststack_plugins.datasets.svhn import Svhn

SIZES = {"train": 9, "validation": 3, "test": 4}
COUNTS = {"train": 12, "test": 4}
SPLITS = torchvision.datasets.SVHN.split_list


def written(path: Path, count: int, first: int) -> rs.Download:
    """A .mat file as published: X [32, 32, 3, N], y [N, 1] from 1 to 10, where 10 is the digit 0."""
    images = np.random.RandomState(first).randint(0, 256, (32, 32, 3, count)).astype(np.uint8)
    images[0, 0, 0] = np.arange(first, first + count)  # The first red pixel numbers the image.
    labels = (np.arange(first, first + count) % 10).astype(np.uint8)
    labels[labels == 0] = 10
    path.parent.mkdir(exist_ok=True)
    scipy.io.savemat(path, {"X": images, "y": labels[:, None]}, do_compression=True)
    return rs.Download(
        f"http://127.0.0.1:9/{path.name}", f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}", f"svhn/{path.name}"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small SVHN in its place, which torchvision and the dataset are made to expect."""
    files = {
        split: written(tmp_path / "svhn" / f"{split}_32x32.mat", count, first)
        for (split, count), first in zip(COUNTS.items(), (0, 100), strict=True)
    }
    expected = {
        split: [file.url, Path(file.path).name, file.hash.removeprefix("md5:")] for split, file in files.items()
    }
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", expected)
    monkeypatch.setattr(Svhn, "files", tuple(files.values()))
    monkeypatch.setattr(Svhn, "sizes", SIZES)
    return tmp_path


@pytest.fixture
def svhn() -> rs.Dataset:
    return Registry().create("dataset", "svhn")


def numbers(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_the_last_training_images_validate(svhn, folder):
    splits = svhn.load(folder)
    assert {split: numbers(part.images) for split, part in splits.items()} == {
        "train": list(range(9)), "validation": [9, 10, 11], "test": [100, 101, 102, 103],
    }  # fmt: skip


def test_images_keep_their_labels_and_ten_is_zero(svhn, folder):
    for part in svhn.load(folder).values():
        assert part.labels.dtype == np.int64
        assert part.labels.tolist() == [number % 10 for number in numbers(part.images)]


def test_pixels_keep_their_place(svhn, folder):
    raw = scipy.io.loadmat(folder / "svhn" / "test_32x32.mat")["X"]
    images = svhn.load(folder)["test"].images
    assert all(
        images[n, c, h, w] == raw[h, w, c, n]
        for n in range(4)
        for c in range(3)
        for h in (0, 5, 31)
        for w in (0, 9, 31)
    )


def test_the_engine_accepts_what_is_loaded(svhn, folder):
    data = load(svhn, folder, torch.device("cpu"))
    assert {split: len(part) for split, part in data.items()} == SIZES
    assert data["train"].batch(slice(0, 2))[0].shape == (2, 3, 32, 32)


def test_the_extra_images_are_never_asked_for(svhn):
    assert not any("extra" in download.url for download in svhn.downloads())


@pytest.mark.parametrize("damaged", ["train_32x32.mat", "test_32x32.mat"])
def test_a_damaged_file_is_named_with_its_own_address_and_hash(svhn, folder, damaged):
    path = folder / "svhn" / damaged
    path.write_bytes(path.read_bytes()[:100])
    (file,) = (download for download in svhn.downloads() if download.path.endswith(damaged))
    with pytest.raises(DatasetError) as error:
        svhn.load(folder)
    message = str(error.value)
    assert message.startswith(f"dataset 'svhn' is not in {folder} ({damaged} is another file: 100 bytes, md5:")
    assert f"could not be downloaded from {file.url} (" in message
    assert message.endswith(f"put the file at {path} ({file.hash}) and run again")


def test_the_declared_files_are_torchvisions(svhn):
    files = [(download.url, Path(download.path).name, download.hash) for download in svhn.downloads()]
    assert files == [(url, name, f"md5:{md5}") for url, name, md5 in (SPLITS["train"], SPLITS["test"])]
    assert all(download.hash in svhn.fingerprint for download in svhn.downloads())


def test_the_declared_facts(svhn):
    assert [svhn.size(split) for split in ("train", "validation", "test")] == [68_257, 5_000, 26_032]
    assert svhn.shape == (3, 32, 32)
    assert svhn.num_classes == 10
    assert svhn.eps == 8 / 255
    assert svhn.augmentation == rs.Augmentation()
