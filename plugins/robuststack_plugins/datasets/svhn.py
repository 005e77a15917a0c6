"""SVHN: house numbers photographed from the street."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import robuststack as rs

FOLDER = "svhn"
SERVER = "http://ufldl.stanford.edu/housenumbers"


class Svhn(rs.Dataset):
    """99,289 colour images of digits, 3 x 32 x 32, 10 classes; the last 5,000 training images validate.

    The 531,131 `extra` images are not used.
    """

    paper = "Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS workshop 2011"
    shape = (3, 32, 32)
    num_classes = 10
    sizes: ClassVar[dict[rs.Split, int]] = {"train": 68_257, "validation": 5_000, "test": 26_032}
    files: ClassVar[tuple[rs.Download, ...]] = (
        rs.Download(f"{SERVER}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373", f"{FOLDER}/train_32x32.mat"),
        rs.Download(f"{SERVER}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3", f"{FOLDER}/test_32x32.mat"),
    )

    @property
    def fingerprint(self) -> str:
        return "+".join(file.hash for file in self.files)

    def size(self, split: rs.Split) -> int:
        return self.sizes[split]

    def downloads(self) -> Sequence[rs.Download]:
        return self.files

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        from torchvision.datasets import SVHN

        from robuststack_plugins.datasets.downloads import obtain
        from robuststack_plugins.datasets.splits import hold_out_last

        def opened() -> list[Any]:
            return [SVHN(str(folder / FOLDER), split=split) for split in ("train", "test")]

        train, test = (rs.Images(split.data, split.labels) for split in obtain(self, folder, opened))
        return {**hold_out_last(train, self.size("validation")), "test": test}
