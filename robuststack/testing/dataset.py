"""What holds for a dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pytest

from robuststack.plugin.dataset import Dataset, Images, Split
from robuststack.testing.component import ComponentConformance

SPLITS = get_args(Split)
LEAK = 0.01


class DatasetConformance(ComponentConformance):
    """The data is what the dataset declares before it is read, is the same each time, and holds the test images out."""

    kind = "dataset"
    folder: ClassVar[Path | None] = None
    """A data folder that holds what the dataset would download. Without it such a dataset is not loaded."""

    def load(self) -> dict[Split, Images]:
        dataset: Dataset = self.create()
        if self.folder is not None:
            return dataset.load(self.folder)
        if dataset.downloads():
            pytest.skip("it would download; set `folder` to a data folder that has its files")
        with tempfile.TemporaryDirectory() as folder:
            return dataset.load(Path(folder))

    def test_it_declares_itself_without_reading(self) -> None:
        """A plan is made of this, and must not need the data."""
        dataset: Dataset = self.create()
        assert len(dataset.shape) == 3, f"shape is {dataset.shape}, not (C, H, W)"
        assert dataset.num_classes >= 2, f"num_classes is {dataset.num_classes}"
        assert dataset.fingerprint, "fingerprint is empty; nothing would tell two versions of the data apart"
        assert dataset.fingerprint == self.create().fingerprint, "fingerprint differs between two instances"
        assert 0 < dataset.eps <= 1, f"eps is {dataset.eps}, outside (0, 1], the range of a pixel"
        assert dataset.size("test") > 0, f"split test has {dataset.size('test')} images; without them nothing is scored"
        for split in SPLITS:
            assert dataset.size(split) >= 0, f"split {split} has {dataset.size(split)} images"
        if dataset.size("train") == 0:
            assert dataset.training_problem(), "training_problem is empty, and there are no training images"

    def test_its_classes_and_notes_are_lines(self) -> None:
        """They are printed, and stored in every row."""
        dataset: Dataset = self.create()
        names = list(dataset.classes)
        assert len(names) in (0, dataset.num_classes), f"{len(names)} names for {dataset.num_classes} classes"
        for line in [*names, *dataset.notes, dataset.training_problem()]:
            assert isinstance(line, str), f"{line!r} is no text"
            assert "\n" not in line, f"{line!r} has more than one line"

    def test_a_download_says_from_where_and_with_which_hash(self) -> None:
        for download in self.create().downloads():
            # Some servers speak no https: what arrives is known by its hash.
            assert download.url.startswith(("https://", "http://")), f"{download.path}: {download.url!r} is no address"
            assert download.hash.partition(":")[2], (
                f"{download.path}: {download.hash!r} names no hash, such as sha256:..."
            )

    def test_it_is_what_it_declares(self) -> None:
        dataset, splits = self.create(), self.load()
        declared = {split for split in SPLITS if dataset.size(split)}
        assert splits.keys() == declared, f"load gives {sorted(splits)}, and those with images are {sorted(declared)}"
        for split, part in splits.items():
            wanted = (dataset.size(split), *dataset.shape)
            assert part.images.shape == wanted, f"{split}: images have shape {part.images.shape}, declared is {wanted}"
            assert part.labels.shape == wanted[:1], f"{split}: labels have shape {part.labels.shape}, not {wanted[:1]}"
            assert part.images.dtype in (np.uint8, np.float32), f"{split}: images are {part.images.dtype}"
            most = 255 if part.images.dtype == np.uint8 else 1
            low, high = part.images.min(), part.images.max()
            assert 0 <= low <= high <= most, f"{split}: pixels from {low} to {high}, outside 0 to {most}"
            bright = high > most / 255 or dataset.nearly_black
            assert bright, f"{split}: pixels reach {high}, and {most} is white; declare nearly_black if that is meant"
            assert np.issubdtype(part.labels.dtype, np.integer), f"{split}: labels are {part.labels.dtype}"
            labels = set(part.labels.tolist())
            assert labels <= set(range(dataset.num_classes)), f"{split}: labels {min(labels)} to {max(labels)}"

    def test_it_is_the_same_each_time(self) -> None:
        first, again = self.load(), self.load()
        for split, part in first.items():
            assert np.array_equal(part.images, again[split].images), f"{split}: images differ between two loads"
            assert np.array_equal(part.labels, again[split].labels), f"{split}: labels differ between two loads"

    def test_test_images_are_not_trained_on(self) -> None:
        """Some data sets repeat an image; more than one in a hundred is a leak."""
        splits = self.load()
        seen = {image.tobytes() for split, part in splits.items() if split != "test" for image in part.images}
        share = float(np.mean([image.tobytes() in seen for image in splits["test"].images]))
        assert share <= LEAK, f"{share:.0%} of the test images are in train or validation too"
