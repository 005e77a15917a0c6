"""Tiny ImageNet, read from its archive, which is never unpacked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args
from zipfile import ZipFile

import robuststack as rs
from robuststack_plugins.datasets.archived import Archived

if TYPE_CHECKING:
    import numpy as np

ROOT = "tiny-imagenet-200"
ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"
CACHE_FORMAT = 1

Labelled = list[tuple[str, int]]
"""Names of files in the archive, each with its label."""


class TinyImagenet(Archived):
    """110,000 colour images, 3 x 64 x 64, 200 classes; the last 25 training images of each class validate.

    The labels of the published `test` images were never released: the published `val` images, 50 of each class, are the
    test split here. Classes are numbered in the order of their WordNet ids, images are ordered by class and file name.
    """

    paper = "Le and Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N, 2015"
    augmentation = rs.Augmentation(pad=4, flip=True)
    shape = (3, 64, 64)
    num_classes = 200
    sizes: ClassVar[dict[rs.Split, int]] = {"train": 95_000, "validation": 5_000, "test": 10_000}
    archive: ClassVar[rs.Download] = rs.Download(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "md5:90528d7ca1a48142e341f4ef8d21d0de",
        "tiny-imagenet-200.zip",
    )

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        from robuststack_plugins.datasets.cache import cached

        key = f"{self.fingerprint} {CACHE_FORMAT} {self.sizes}"
        arrays = cached(folder / f"{ROOT}.npz", key, lambda: self._decode(folder))
        return {split: rs.Images(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in get_args(rs.Split)}

    def _decode(self, folder: Path) -> dict[str, np.ndarray]:
        """`<split>_images` uint8 [N, 3, 64, 64] and `<split>_labels` int64 [N] of every split."""
        import numpy as np

        from robuststack_plugins.datasets.downloads import fetch

        (path,) = fetch(self, folder)
        arrays: dict[str, np.ndarray] = {}
        with ZipFile(path) as archive:
            for split, listed in self._listed(archive).items():
                images = np.empty((len(listed), *self.shape), dtype=np.uint8)
                for row, (name, _) in enumerate(listed):
                    images[row] = self._pixels(archive, name)
                arrays[f"{split}_images"] = images
                arrays[f"{split}_labels"] = np.array([label for _, label in listed], dtype=np.int64)
        return arrays

    def _listed(self, archive: ZipFile) -> dict[rs.Split, Labelled]:
        names = sorted(archive.namelist())
        classes: dict[str, list[str]] = {}
        for name in names:
            if match := re.fullmatch(rf"{ROOT}/train/(\w+)/images/[^/]+\.JPEG", name):
                classes.setdefault(match[1], []).append(name)
        labels = {wnid: label for label, wnid in enumerate(classes)}
        held = self.size("validation") // self.num_classes
        lines = (line.split()[:2] for line in archive.read(ANNOTATIONS).decode().splitlines())
        annotated = dict(line for line in lines if len(line) == 2)
        test: Labelled = []
        for name in names:
            if match := re.fullmatch(rf"{ROOT}/val/images/([^/]+\.JPEG)", name):
                wnid = annotated.get(match[1])
                if wnid not in labels:
                    problem = f"names the class {wnid!r}, which has no training image" if wnid else "has no line"
                    raise self._error(f"{match[1]} {problem} in {ANNOTATIONS}")
                test.append((name, labels[wnid]))
        return {
            "train": [(name, labels[wnid]) for wnid, members in classes.items() for name in members[:-held]],
            "validation": [(name, labels[wnid]) for wnid, members in classes.items() for name in members[-held:]],
            "test": test,
        }

    def _pixels(self, archive: ZipFile, name: str) -> np.ndarray:
        """One image [3, 64, 64]; a grayscale one has its channel three times."""
        import numpy as np

        from robuststack_plugins.datasets.pixels import decoded

        channels, height, width = self.shape
        try:
            with archive.open(name) as file:
                image = decoded(file, channels)
        except ValueError as error:
            raise self._error(f"{name}: {error}") from None
        if image.size != (width, height):
            raise self._error(f"{name}: it has {image.width} x {image.height} pixels, not {width} x {height}")
        return np.asarray(image).transpose(2, 0, 1)

    def _error(self, problem: str) -> rs.DatasetError:
        return rs.DatasetError(f"dataset {self.name!r}, {self.archive.path}: {problem}")
