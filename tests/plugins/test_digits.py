"""The embedded digits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from robuststack.errors import DatasetError
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import Registry

SPLITS_SHA256 = "c064d2d9091afdc4a40964b4095a037f83c90c315bdef7cb34c573c59d9b14e1"
"""Of each split's name, images and labels, as they have always been."""


@pytest.fixture
def digits():
    return Registry().create("dataset", "digits")


def test_the_splits_hold_every_image_once(digits, tmp_path):
    splits = digits.load(tmp_path)
    assert {split: len(part.labels) for split, part in splits.items()} == {
        "train": 1100,
        "validation": 197,
        "test": 500,
    }
    assert all(len(part.images) == digits.size(split) for split, part in splits.items())
    rows = np.concatenate([part.images.reshape(-1, 64) for part in splits.values()])
    source = load_digits().data.astype(np.float32) / 16
    assert sorted(map(bytes, rows)) == sorted(map(bytes, source))


def test_images_keep_their_labels(digits, tmp_path):
    rows, targets = load_digits(return_X_y=True)
    labels = {(row / 16).astype(np.float32).tobytes(): int(target) for row, target in zip(rows, targets, strict=True)}
    for part in digits.load(tmp_path).values():
        assert [labels[image.tobytes()] for image in part.images] == part.labels.tolist()


def test_values_fill_the_pixel_range(digits, tmp_path):
    images = digits.load(tmp_path)["train"].images
    assert images.dtype == np.float32
    assert images.shape[1:] == digits.shape == (1, 8, 8)
    assert (images.min(), images.max()) == (0, 1)


def test_every_class_is_in_every_split(digits, tmp_path):
    for part in digits.load(tmp_path).values():
        assert set(part.labels) == set(range(digits.num_classes))


def test_the_split_is_always_the_same(digits, tmp_path):
    first, again = digits.load(tmp_path), digits.load(tmp_path)
    assert all(np.array_equal(first[split].images, again[split].images) for split in first)
    assert first["test"].labels[:8].tolist() == [0, 9, 6, 9, 8, 4, 5, 8]


def test_every_byte_is_as_it_has_always_been(digits, tmp_path):
    digest = hashlib.sha256()
    for split, part in digits.load(tmp_path).items():
        digest.update(split.encode() + part.images.tobytes() + part.labels.tobytes())
    assert digest.hexdigest() == SPLITS_SHA256


def test_three_channels_are_the_one_repeated(digits, tmp_path):
    colour = Registry().create("dataset", "digits", {"channels": 3})
    assert colour.shape == (3, 8, 8)
    splits = colour.load(tmp_path)
    for split, part in digits.load(tmp_path).items():
        assert splits[split].images.shape[1:] == (3, 8, 8)
        assert all(np.array_equal(splits[split].images[:, channel], part.images[:, 0]) for channel in range(3))
        assert np.array_equal(splits[split].labels, part.labels)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(InvalidOptions, match="channels: must be 1 or 3, not 2"):
        Registry().create("dataset", "digits", {"channels": 2})


def test_nothing_is_downloaded_or_written(digits, tmp_path):
    digits.load(tmp_path)
    assert digits.downloads() == ()
    assert list(tmp_path.iterdir()) == []


def test_another_copy_of_the_data_is_refused(digits, tmp_path, monkeypatch):
    changed = load_digits()
    changed.images[0, 0, 0] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: changed)
    with pytest.raises(DatasetError, match=r"not the known one: sha256 [0-9a-f]{64}, not 8b3b6ae9"):
        digits.load(tmp_path)
