"""CIFAR-10 from small files of the true format: found, split, refused when damaged, explained when absent."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision

from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.registry import Registry
from robuststack_plugins.datasets import cifar10

TRAIN, HELD_OUT, TEST = 9, 1, 4
FOLDER = "cifar-10-batches-py"


def batch(count: int, first: int) -> bytes:
    data = np.random.RandomState(first).randint(0, 256, (count, 3072)).astype(np.uint8)
    data[:, 0] = np.arange(first, first + count)  # The first red pixel numbers the image.
    return pickle.dumps({"data": data, "labels": [(first + one) % 10 for one in range(count)]})


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a small CIFAR-10, which torchvision and the dataset are made to expect."""
    made = {f"data_batch_{one + 1}": batch(2, 2 * one) for one in range(5)}
    made["test_batch"] = batch(TEST, 100)
    made["batches.meta"] = pickle.dumps({"label_names": [f"class{one}" for one in range(10)]})

    def listed(prefix: str) -> list[list[str]]:
        return [[name, hashlib.md5(made[name]).hexdigest()] for name in made if name.startswith(prefix)]

    original = torchvision.datasets.CIFAR10
    monkeypatch.setattr(original, "train_list", listed("data_batch"))
    monkeypatch.setattr(original, "test_list", listed("test_batch"))
    meta = {"filename": "batches.meta", "key": "label_names", "md5": listed("batches.meta")[0][1]}
    monkeypatch.setattr(original, "meta", meta)
    monkeypatch.setattr(cifar10, "TRAIN", TRAIN)
    sizes = {"train": TRAIN, "validation": HELD_OUT, "test": TEST}
    monkeypatch.setattr(cifar10.Cifar10, "size", lambda self, split: sizes[split])
    return made


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The downloads that were tried; each fails as it does without a network."""
    tried: list[str] = []

    def fail(url: str, *args: object, **kwargs: object) -> None:
        tried.append(url)
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    return tried


@pytest.fixture
def dataset():
    return Registry().create("dataset", "cifar10")


def place(folder: Path, files: dict[str, bytes]) -> Path:
    (folder / FOLDER).mkdir(parents=True)
    for name, content in files.items():
        (folder / FOLDER / name).write_bytes(content)
    return folder


def numbers(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_files_that_are_there_are_used_without_a_download(dataset, files, attempts, tmp_path):
    splits = dataset.load(place(tmp_path, files))
    assert attempts == []
    assert {split: numbers(one.images) for split, one in splits.items()} == {
        "train": list(range(9)), "validation": [9], "test": [100, 101, 102, 103],
    }  # fmt: skip
    for one in splits.values():
        assert one.labels.tolist() == [number % 10 for number in numbers(one.images)]


def test_pixels_keep_their_place(dataset, files, attempts, tmp_path):
    splits = dataset.load(place(tmp_path, files))
    raw = pickle.loads(files["test_batch"])["data"].reshape(TEST, 3, 32, 32)
    assert np.array_equal(splits["test"].images, raw)


def test_the_engine_accepts_what_is_loaded(dataset, files, attempts, tmp_path):
    import torch

    data = load(dataset, place(tmp_path, files), torch.device("cpu"))
    x, y = data["test"].batch(slice(0, 2))
    assert x.shape == (2, 3, 32, 32)
    assert y.tolist() == [0, 1]


def test_the_official_archive_is_unpacked(dataset, files, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(buffer.getvalue())
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    assert numbers(dataset.load(tmp_path)["train"].images) == list(range(9))


@pytest.mark.parametrize("placed", [False, True])
def test_absent_data_names_where_it_comes_from_and_where_it_belongs(dataset, files, attempts, tmp_path, placed):
    folder = tmp_path / "data"
    if placed:
        place(folder, {"test_batch": files["test_batch"]})
    with pytest.raises(DatasetError) as error:
        dataset.load(folder)
    message = str(error.value)
    assert attempts
    assert message.startswith(f"dataset 'cifar10' is not in {folder}")
    for part in (cifar10.URL, "Network is unreachable", str(folder / "cifar-10-python.tar.gz"), f"md5:{cifar10.MD5}"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_truncated_file_is_refused(dataset, files, attempts, tmp_path, name, damage):
    with pytest.raises(DatasetError, match="could not be downloaded from"):
        dataset.load(place(tmp_path, {**files, name: damage(files[name])}))


def test_torchvision_expects_the_archive_that_is_declared(dataset):
    (download,) = dataset.downloads()
    official = torchvision.datasets.CIFAR10
    assert (download.url, download.hash, download.path) == (
        official.url, f"md5:{official.tgz_md5}", official.filename,
    )  # fmt: skip
    assert dataset.fingerprint == download.hash


def test_the_declared_facts():
    dataset = Registry().create("dataset", "cifar10")
    assert [dataset.size(split) for split in ("train", "validation", "test")] == [45_000, 5_000, 10_000]
    assert dataset.shape == (3, 32, 32)
    assert dataset.num_classes == 10
    assert dataset.eps == 8 / 255
    assert (dataset.augmentation.pad, dataset.augmentation.flip) == (4, True)
