"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import robuststack as rs
from robuststack_plugins.datasets.archived import Archived


class Cifar10(Archived):
    """60,000 colour images, 3 x 32 x 32, 10 classes; the last 5,000 training images validate."""

    paper = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    augmentation = rs.Augmentation(pad=4, flip=True)
    shape = (3, 32, 32)
    num_classes = 10
    sizes: ClassVar[dict[rs.Split, int]] = {"train": 45_000, "validation": 5_000, "test": 10_000}
    archive: ClassVar[rs.Download] = rs.Download(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
        "cifar-10-python.tar.gz",
    )

    @property
    def reader(self) -> Any:
        """torchvision's class, which checks the hash of every file it reads."""
        from torchvision.datasets import CIFAR10

        return CIFAR10

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        from robuststack_plugins.datasets.downloads import obtain
        from robuststack_plugins.datasets.splits import hold_out_last

        train, test = obtain(
            self, folder, lambda: [self.reader(str(folder), train=training) for training in (True, False)]
        )
        return {**hold_out_last(_images(train), self.size("validation")), "test": _images(test)}


class Cifar100(Cifar10):
    """60,000 colour images, 3 x 32 x 32, 100 classes; the last 5,000 training images validate."""

    num_classes = 100
    archive = rs.Download(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "md5:eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python.tar.gz",
    )

    @property
    def reader(self) -> Any:
        from torchvision.datasets import CIFAR100

        return CIFAR100


def _images(source: Any) -> rs.Images:
    import numpy as np

    return rs.Images(source.data.transpose(0, 3, 1, 2), np.asarray(source.targets, dtype=np.int64))
