"""Tiny ImageNet from a small archive of the true layout."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry
from robuststack_plugins.datasets.tiny_imagenet import TinyImagenet

ROOT = "tiny-imagenet-200"
WNIDS = ("n02124075", "n01443537", "n04067472")
CLASSES = sorted(WNIDS)
SIZES = {"train": 9, "validation": 6, "test": 6}
GRAY = f"{ROOT}/train/n01443537/images/n01443537_3.JPEG"
VALIDATED = ("n02124075", "n01443537", "n04067472", "n01443537", "n04067472", "n02124075")
"""The classes of the published validation images."""


def jpeg(value: int, mode: str = "RGB", size: int = 64) -> bytes:
    """An image of one brightness, which says what it is."""
    buffer = io.BytesIO()
    Image.new(mode, (size, size), value if mode == "L" else (value,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    """The files of a small archive, out of order as in the official one; brightness says class (tens) and number."""
    made = {f"{ROOT}/wnids.txt": "\n".join(WNIDS).encode(), f"{ROOT}/words.txt": b"n02124075\tEgyptian cat\n"}
    for wnid in WNIDS:
        for number in (4, 0, 3, 1, 2):
            name = f"{ROOT}/train/{wnid}/images/{wnid}_{number}.JPEG"
            made[name] = jpeg(10 * CLASSES.index(wnid) + number, "L" if name == GRAY else "RGB")
        made[f"{ROOT}/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t10\t63\t58\n".encode()
    lines = [f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n" for number, wnid in enumerate(VALIDATED)]
    made[f"{ROOT}/val/val_annotations.txt"] = "".join(reversed(lines)).encode()
    for number, wnid in enumerate(VALIDATED):
        made[f"{ROOT}/val/images/val_{number}.JPEG"] = jpeg(100 + 10 * CLASSES.index(wnid) + number)
    made[f"{ROOT}/test/images/test_0.JPEG"] = jpeg(255)
    return made


Place = Callable[[dict[str, bytes]], Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts an archive of some files into place, which the dataset is made to expect."""
    monkeypatch.setattr(TinyImagenet, "sizes", SIZES)
    monkeypatch.setattr(TinyImagenet, "num_classes", 3)

    def write(files: dict[str, bytes]) -> Path:
        path = tmp_path / "tiny-imagenet-200.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        known = f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        monkeypatch.setattr(TinyImagenet, "archive", rs.Download("http://127.0.0.1:9/x.zip", known, path.name))
        return tmp_path

    return write


@pytest.fixture
def tiny() -> rs.Dataset:
    return Registry().create("dataset", "tiny_imagenet")


def shown(images: np.ndarray) -> list[int]:
    """The brightness of each image."""
    return [round(float(image.mean())) for image in images]


def test_classes_are_in_order_and_their_last_images_validate(tiny, place):
    splits = tiny.load(place(members()))
    assert shown(splits["train"].images) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert shown(splits["validation"].images) == [3, 4, 13, 14, 23, 24]
    for split in ("train", "validation"):
        assert splits[split].labels.tolist() == [number // 10 for number in shown(splits[split].images)]


def test_the_published_validation_images_are_the_test_split(tiny, place):
    test = tiny.load(place(members()))["test"]
    assert test.labels.tolist() == [CLASSES.index(wnid) for wnid in VALIDATED]
    assert shown(test.images) == [100 + 10 * label + number for number, label in enumerate(test.labels)]


def test_grayscale_images_have_their_channel_three_times(tiny, place):
    image = tiny.load(place(members()))["validation"].images[0]
    assert np.array_equal(image[0], image[1])
    assert np.array_equal(image[0], image[2])
    assert shown(image[None]) == [3]


def test_pixels_keep_their_place_and_channel(tiny, place):
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:16, :, 0] = 250  # Red on top.
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=100)
    files = {**members(), f"{ROOT}/val/images/val_0.JPEG": buffer.getvalue()}
    red, green, _ = tiny.load(place(files))["test"].images[0].astype(int)
    assert red[:12].min() > 200
    assert red[20:].max() < 50
    assert green.max() < 50


def test_the_second_load_reads_the_cache_alone(tiny, place):
    folder = place(members())
    first = tiny.load(folder)
    (folder / "tiny-imagenet-200.zip").unlink()
    again = tiny.load(folder)
    for split, part in first.items():
        assert np.array_equal(again[split].images, part.images)
        assert np.array_equal(again[split].labels, part.labels)


def test_a_cache_of_another_archive_is_not_used(tiny, place):
    tiny.load(place({**members(), f"{ROOT}/val/images/val_0.JPEG": jpeg(200)}))
    assert shown(tiny.load(place(members()))["test"].images)[0] == 110


def test_a_damaged_cache_is_made_again(tiny, place):
    folder = place(members())
    expected = tiny.load(folder)["test"].images
    path = folder / "tiny-imagenet-200.npz"
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(tiny.load(folder)["test"].images, expected)
    assert path.stat().st_size > 100


def test_the_engine_accepts_what_is_loaded(tiny, place):
    data = load(tiny, place(members()), torch.device("cpu"))
    assert {split: len(part) for split, part in data.items()} == SIZES
    assert data["train"].batch(slice(0, 2))[0].shape == (2, 3, 64, 64)


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in members().items() if key != name}


ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"
LINES = members()[ANNOTATIONS]
IMAGE = f"{ROOT}/val/images/val_2.JPEG"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {**members(), ANNOTATIONS: LINES.replace(b"val_2.JPEG\tn04067472\t0\t32\t44\t62\n", b"")},
            f"val_2.JPEG has no line in {ANNOTATIONS}",
        ),
        ({**members(), ANNOTATIONS: LINES[:-30]}, f"val_0.JPEG has no line in {ANNOTATIONS}"),
        (
            {**members(), ANNOTATIONS: LINES.replace(b"val_2.JPEG\tn04067472", b"val_2.JPEG\tn99999999")},
            f"val_2.JPEG names the class 'n99999999', which has no training image in {ANNOTATIONS}",
        ),
        ({**members(), IMAGE: jpeg(0)[:200]}, f"{IMAGE}: it does not decode (OSError: "),
        ({**members(), IMAGE: b"<html>"}, f"{IMAGE}: it is no image that can be read"),
        ({**members(), IMAGE: jpeg(0, size=32)}, f"{IMAGE}: it has 32 x 32 pixels, not 64 x 64"),
    ],
    ids=["no line", "cut off", "unknown class", "truncated", "html", "size"],
)
def test_a_flaw_in_the_archive_is_named(tiny, place, files, problem):
    folder = place(files)
    with pytest.raises(DatasetError) as error:
        tiny.load(folder)
    assert str(error.value).startswith(f"dataset 'tiny_imagenet', tiny-imagenet-200.zip: {problem}")
    assert not (folder / "tiny-imagenet-200.npz").exists()


def test_a_missing_image_is_found_by_the_declared_sizes(tiny, place):
    with pytest.raises(DatasetError, match="split test: 5 images and 5 labels, the dataset declares 6"):
        load(tiny, place(without(IMAGE)), torch.device("cpu"))


@pytest.mark.parametrize("content", [None, b"<html>Not found</html>", b"PK\x03\x04 cut off"])
def test_an_absent_or_wrong_archive_is_explained(tiny, place, content):
    folder = place(members())
    path = folder / "tiny-imagenet-200.zip"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        tiny.load(folder)
    message = str(error.value)
    flaw = {None: "is not there", b"<html>Not found</html>": "is a web page"}.get(content, "is another file: 12 bytes")
    assert message.startswith(f"dataset 'tiny_imagenet' is not in {folder} (tiny-imagenet-200.zip {flaw}")
    assert "could not be downloaded from http://127.0.0.1:9/x.zip (" in message
    assert message.endswith(f"put the file at {path} ({tiny.fingerprint}) and run again")


def test_the_declared_facts(tiny):
    assert [tiny.size(split) for split in ("train", "validation", "test")] == [95_000, 5_000, 10_000]
    assert tiny.shape == (3, 64, 64)
    assert tiny.num_classes == 200
    assert tiny.eps == 8 / 255
    assert tiny.augmentation == rs.Augmentation(pad=4, flip=True)
    assert tiny.downloads() == (
        rs.Download(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
            "tiny-imagenet-200.zip",
        ),
    )
    assert tiny.fingerprint == "md5:90528d7ca1a48142e341f4ef8d21d0de"
