"""MNIST and Fashion-MNIST: from small idx files of the true format, and from the real ones of Debian's package."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

import robuststack as rs
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry
from robuststack_plugins.datasets import mnist
from robuststack_plugins.datasets.idx import parsed, read_known
from robuststack_plugins.datasets.mnist import FashionMnist, Mnist

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = list(FashionMnist.unpacked)
COUNTS = {"train": 12, "t10k": 4}


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes, as MNIST's authors describe it."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return header + array.astype(np.uint8).tobytes()


def contents() -> dict[str, bytes]:
    """Small files of the four names; the first pixel numbers an image, and its label is the number's last digit."""
    made = {}
    for part, count in COUNTS.items():
        images = np.random.RandomState(count).randint(0, 256, (count, 28, 28))
        images[:, 0, 0] = np.arange(count)
        made[f"{part}-images-idx3-ubyte"] = idx(images)
        made[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """The dataset expects the small files, on no server and in no folder of the system."""
    files = contents()
    monkeypatch.setattr(
        FashionMnist, "unpacked", {name: hashlib.sha256(made).hexdigest() for name, made in files.items()}
    )
    monkeypatch.setattr(FashionMnist, "server", "http://127.0.0.1:9")
    monkeypatch.setattr(mnist, "PREFIXES", (str(tmp_path / "usr"),))
    monkeypatch.setattr(mnist, "VALIDATION", 3)
    return files


def write(folder: Path, files: dict[str, bytes], suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


def fashion(**options: object) -> rs.Dataset:
    return Registry().create("dataset", "fashion_mnist", options)


def numbers(part: rs.Images) -> list[int]:
    return part.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("place", "suffix"),
    [
        ("data/FashionMNIST/raw", ""),
        ("data/FashionMNIST/raw", ".gz"),
        ("usr/share/datasets/fashion-mnist", ".gz"),
        ("usr/share/datasets/fashion-mnist", ""),
    ],
)
def test_the_files_are_found_in_torchvisions_layout_and_in_debians_folder(small, tmp_path, place, suffix):
    write(tmp_path / place, small, suffix)
    splits = fashion().load(tmp_path / "data")
    assert {split: numbers(part) for split, part in splits.items()} == {
        "train": list(range(9)), "validation": [9, 10, 11], "test": [0, 1, 2, 3],
    }  # fmt: skip
    assert all(part.labels.tolist() == [number % 10 for number in numbers(part)] for part in splits.values())
    assert all(part.images.dtype == np.uint8 and part.labels.dtype == np.int64 for part in splits.values())


def test_a_file_that_is_damaged_in_one_place_is_taken_from_the_other(small, tmp_path):
    write(tmp_path / "data/FashionMNIST/raw", {NAMES[0]: small[NAMES[0]][:100]})
    write(tmp_path / "usr/share/datasets/fashion-mnist", small, ".gz")
    assert numbers(fashion().load(tmp_path / "data")["test"]) == [0, 1, 2, 3]


def refused(tmp_path: Path) -> str:
    with pytest.raises(DatasetError) as error:
        fashion().load(tmp_path / "data")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_files_and_network_one_line_says_both_ways_to_get_them(small, tmp_path):
    raw = tmp_path / "data/FashionMNIST/raw"
    message = refused(tmp_path)
    assert message.startswith(f"dataset 'fashion_mnist' is not in {tmp_path / 'data'} ({NAMES[0]}.gz is not there)")
    assert f"could not be downloaded from http://127.0.0.1:9/{NAMES[0]}.gz (" in message
    assert message.endswith(
        f"put the file at {raw / NAMES[0]}.gz (md5:{FashionMnist.gzipped[NAMES[0]]}) and run again, or install the system's"
        " package: apt-get install dataset-fashion-mnist"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (lambda content: gzip.compress(content)[:-20], r"does not unpack \(\w+: .+\)"),
        (lambda content: b"<!DOCTYPE html>", r"does not unpack \(BadGzipFile: .+\)"),
        (lambda content: gzip.compress(content[:-1]), r"is another file: \d+ bytes, sha256:\w{64}, not sha256:\w{64}"),
        (lambda content: gzip.compress(content[:-1] + b"\xff"), r"is another file: \d+ bytes, sha256:\w{64}, .+"),
    ],
    ids=["cut short", "a web page", "an image less", "another byte"],
)
def test_a_damaged_file_is_refused_and_named(small, tmp_path, name, damage, flaw):
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    write(folder, small, ".gz")
    (folder / f"{name}.gz").write_bytes(damage(small[name]))
    assert re.search(rf"\(not usable: {re.escape(str(folder / name))}\.gz {flaw}\)$", refused(tmp_path))


def test_a_file_that_nobody_may_read_is_refused_and_named(small, tmp_path, monkeypatch):
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    write(folder, small, ".gz")
    unreadable, read_bytes = folder / f"{NAMES[0]}.gz", Path.read_bytes

    def read(path: Path) -> bytes:
        if path == unreadable:
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert refused(tmp_path).endswith(f"(not usable: {unreadable} cannot be read (Permission denied))")


def test_a_download_of_the_known_packing_that_holds_other_bytes_is_refused(small, tmp_path, monkeypatch):
    other = gzip.compress(b"other")
    write(tmp_path / "usr/share/datasets/fashion-mnist", {name: small[name] for name in NAMES[1:]}, ".gz")
    raw = tmp_path / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        (raw / f"{name}.gz").write_bytes(other)
    monkeypatch.setattr(FashionMnist, "gzipped", dict.fromkeys(NAMES, hashlib.md5(other).hexdigest()))
    assert refused(tmp_path).startswith(
        f"dataset 'fashion_mnist': {raw / NAMES[0]}.gz is another file: 5 bytes, sha256:"
    )


def test_so_many_training_images_are_each_class_in_proportion_and_others_stay(small, tmp_path):
    images = np.zeros((43, 28, 28))
    images[:, 0, 0] = np.arange(43)
    small["train-images-idx3-ubyte"], small["train-labels-idx1-ubyte"] = idx(images), idx(np.arange(43) % 10)
    known = {name: hashlib.sha256(made).hexdigest() for name, made in small.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FashionMnist, "unpacked", known)
        write(tmp_path / "data/FashionMNIST/raw", small)
        splits = fashion(images=20, channels=3).load(tmp_path / "data")
    assert np.bincount(splits["train"].labels).tolist() == [2] * 10
    assert all(number < 40 for number in numbers(splits["train"]))
    assert numbers(splits["validation"]) == [40, 41, 42]
    assert splits["train"].images.shape == (20, 3, 28, 28)
    assert np.array_equal(splits["train"].images[:, 0], splits["train"].images[:, 2])
    assert fashion(images=20).size("train") == 20


@given(st.integers(1, 3), st.data())
@settings(max_examples=30, deadline=None)
def test_idx_files_are_read_as_they_were_written(sides, data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=sides, max_size=sides))
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(np.uint8)
    assert np.array_equal(parsed(idx(array)), array)
    cut = data.draw(st.integers(0, len(idx(array)) - 1))
    with pytest.raises(ValueError, match=r"is no idx file of bytes|values, and its header says"):
        parsed(idx(array)[:cut])


def test_another_type_of_values_is_refused():
    with pytest.raises(ValueError, match="is no idx file of bytes"):
        parsed(bytes([0, 0, 13, 1, 0, 0, 0, 1]) + bytes(4))


@pytest.mark.parametrize(
    ("dataset", "known", "eps"),
    [(Mnist, torchvision.datasets.MNIST, 0.3), (FashionMnist, torchvision.datasets.FashionMNIST, 0.1)],
    ids=["mnist", "fashion_mnist"],
)
def test_the_declared_facts_are_torchvisions(dataset, known, eps):
    made = dataset()
    resources = [(Path(file.path).name, file.hash) for file in made.downloads()]
    assert resources == [(name, f"md5:{md5}") for name, md5 in known.resources]
    assert all(
        file.url.rpartition("/")[0] in [mirror.rstrip("/") for mirror in known.mirrors] for file in made.downloads()
    )
    assert all(file.path.startswith(f"{known.__name__}/raw/") for file in made.downloads())
    assert list(made.unpacked) == list(made.gzipped) == [name.removesuffix(".gz") for name, _ in known.resources]
    assert [made.size(split) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]
    assert (made.shape, made.num_classes, made.eps) == ((1, 28, 28), 10, eps)
    assert list(FashionMnist().classes) == torchvision.datasets.FashionMNIST.classes
    assert all(sha256 in made.fingerprint for sha256 in made.unpacked.values())


def test_debians_files_are_the_published_ones(tmp_path):
    """As torchvision reads them; on a developer's machine it needs `apt-get install dataset-fashion-mnist`."""
    if not DEBIAN.is_dir() and not os.environ.get("CI"):
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    splits = fashion(images=20_000).load(tmp_path)
    assert {split: len(part.labels) for split, part in splits.items()} == {
        "train": 20_000, "validation": 5_000, "test": 10_000,
    }  # fmt: skip
    assert np.bincount(splits["test"].labels).tolist() == [1_000] * 10
    # Each class in proportion to its images among the first 55,000.
    assert np.ptp(np.bincount(splits["train"].labels)) < 100
    raw = tmp_path / "FashionMNIST/raw"
    write(raw, {name: gzip.decompress((DEBIAN / f"{name}.gz").read_bytes()) for name in NAMES if "t10k" in name})
    assert read_known(raw / "t10k-labels-idx1-ubyte", FashionMnist.unpacked["t10k-labels-idx1-ubyte"]).shape == (
        10_000,
    )
    published = torchvision.datasets.mnist.read_image_file(str(raw / "t10k-images-idx3-ubyte"))
    assert np.array_equal(splits["test"].images[:, 0], published.numpy())
