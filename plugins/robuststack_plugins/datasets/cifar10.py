"""CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import robuststack as rs

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
TRAIN = 45_000


class Cifar10(rs.Dataset):
    """60,000 colour images, 3 x 32 x 32, 10 classes; the last 5,000 training images validate."""

    paper = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    augmentation: ClassVar[rs.Augmentation] = rs.Augmentation(pad=4, flip=True)
    shape = (3, 32, 32)
    num_classes = 10
    fingerprint = f"md5:{MD5}"

    def size(self, split: rs.Split) -> int:
        return {"train": TRAIN, "validation": 5_000, "test": 10_000}[split]

    def downloads(self) -> Sequence[rs.Download]:
        return (rs.Download(URL, f"md5:{MD5}", "cifar-10-python.tar.gz"),)

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        import numpy as np
        from torchvision.datasets import CIFAR10

        from robuststack_plugins.datasets.torchvision_files import obtain

        train = obtain(self, folder, lambda download: CIFAR10(str(folder), train=True, download=download))
        test = CIFAR10(str(folder), train=False)
        images, labels = train.data.transpose(0, 3, 1, 2), np.asarray(train.targets, dtype=np.int64)
        return {
            "train": rs.Images(images[:TRAIN], labels[:TRAIN]),
            "validation": rs.Images(images[TRAIN:], labels[TRAIN:]),
            "test": rs.Images(test.data.transpose(0, 3, 1, 2), np.asarray(test.targets, dtype=np.int64)),
        }
