"""Arrays that another program packed, labels that stand for no class, and a white that does not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robuststack as rs
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry


def dataset(folder: Path, images: np.ndarray, labels: Any, **options: Any) -> rs.Dataset:
    path = folder / "mine.npz"
    np.savez(path, x_test=images, y_test=np.asarray(labels))
    return Registry().create("dataset", "npz", {"path": str(path), **options})


IMAGES = np.random.RandomState(0).randint(256, size=(6, 3, 5, 7)).astype(np.uint8)


@pytest.mark.parametrize("mark", [200_000, 2**31 - 1, np.iinfo(np.int64).max])
def test_a_label_that_marks_something_else_is_refused_at_once(tmp_path, mark):
    data = dataset(tmp_path, IMAGES, [0, 1, 2, 3, 0, mark])
    with pytest.raises(DatasetError, match=r"classes; at most 100,000|holds numbers that are no labels"):
        _ = data.num_classes


def test_so_many_classes_are_none(tmp_path):
    with pytest.raises(DatasetError, match="`classes` makes 1,000,000,000 classes; at most 100,000"):
        _ = dataset(tmp_path, IMAGES, [0, 1, 2, 3, 0, 1], classes=10**9).num_classes


@pytest.mark.parametrize(
    ("images", "white"),
    [(IMAGES.astype(np.uint16), 65535), (IMAGES / np.float32(255), 255), (IMAGES.astype(np.uint16), 4095)],
)
def test_a_white_that_leaves_images_black_is_noted(tmp_path, images, white):
    (note,) = [note for note in dataset(tmp_path, images, [0, 1, 2, 3, 0, 1], white=white).notes if "black" in note]
    assert f"white is {white}" in note
    assert f"say white: {images.max():g}" in note


def test_a_white_that_fits_is_not(tmp_path):
    notes = dataset(tmp_path, IMAGES.astype(np.uint16), [0, 1, 2, 3, 0, 1], white=255).notes
    assert not any("black" in note for note in notes)


def encrypted(member: zipfile.ZipInfo) -> None:
    member.flag_bits |= 1


def deflate64(member: zipfile.ZipInfo) -> None:
    member.compress_type = 9


@pytest.mark.parametrize("change", [encrypted, deflate64])
def test_a_file_that_python_cannot_unpack_is_refused_in_one_line(tmp_path, change):
    data = dataset(tmp_path, IMAGES, [0, 1, 2, 3, 0, 1])
    path = tmp_path / "mine.npz"
    content = bytearray(path.read_bytes())
    for signature, flags, method in ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10)):
        start = content.find(signature)
        while start >= 0:
            member = zipfile.ZipInfo()
            change(member)
            content[start + flags] |= member.flag_bits & 1
            content[start + method] = member.compress_type
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"it cannot be read as an \.npz file") as refused:
        _ = data.num_classes, data.load(tmp_path)
    assert "\n" not in str(refused.value)
