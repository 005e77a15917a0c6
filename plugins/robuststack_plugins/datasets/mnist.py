"""MNIST and Fashion-MNIST: gray images of 28 x 28 pixels in idx files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

import robuststack as rs

if TYPE_CHECKING:
    import numpy as np

TRAINING, VALIDATION, TEST = 60_000, 5_000, 10_000
PARTS: Mapping[str, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""What is published -> its files of images and of labels."""
PREFIXES = tuple(dict.fromkeys(("/usr", "/usr/local", sys.base_prefix, sys.prefix)))
"""Below which packages of the system put their data."""
SUBSET_SEED = 1
"""Of the option `images`: which training images it takes."""


class Mnist(rs.Dataset):
    """70,000 handwritten digits, 1 x 28 x 28, 10 classes; the last 5,000 training images validate."""

    paper = "LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 1998"
    eps = 0.3
    num_classes = 10
    server: ClassVar[str] = "https://ossci-datasets.s3.amazonaws.com/mnist"
    folder: ClassVar[str] = "MNIST"
    """torchvision's folder below the data folder."""
    gzipped: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    """File -> the MD5 hash of what the server sends."""
    unpacked: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    """File -> the SHA-256 hash of what it holds: others have packed the same bytes anew."""
    package: ClassVar[str] = ""
    """Debian's package of the data, if there is one."""

    class Options(rs.Options):
        channels: Literal[1, 3] = rs.option(1, "3 repeats the one channel, for networks that take colour.")
        images: int | None = Field(
            None, ge=10, le=TRAINING - VALIDATION,
            description="Train on so many of the training images, each class in proportion, drawn with a fixed seed.",
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.options.channels, 28, 28)

    @property
    def fingerprint(self) -> str:
        return "sha256:" + "+".join(self.unpacked.values())

    def size(self, split: rs.Split) -> int:
        sizes = {"train": self.options.images or TRAINING - VALIDATION, "validation": VALIDATION, "test": TEST}
        return sizes[split]

    def downloads(self) -> Sequence[rs.Download]:
        return [
            rs.Download(f"{self.server}/{name}.gz", f"md5:{md5}", f"{self.folder}/raw/{name}.gz")
            for name, md5 in self.gzipped.items()
        ]

    def places(self, folder: Path) -> Iterator[Path]:
        """The folders in which the files may lie: torchvision's, below the data folder, and the package's."""
        yield folder / self.folder / "raw"
        if self.package:
            for prefix in PREFIXES:
                yield Path(prefix, "share", "datasets", self.package.removeprefix("dataset-"))

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        from robuststack_plugins.datasets.splits import hold_out_last

        arrays, flaws = self._found(folder)
        if len(arrays) < len(self.unpacked):
            self._fetch(folder, flaws)
            arrays, flaws = self._found(folder)
        absent = [name for name in self.unpacked if name not in arrays]
        if absent:
            raise rs.DatasetError(f"dataset {self.name!r}: {'; '.join(flaws)}")
        train, test = (self._images(arrays[images], arrays[labels]) for images, labels in PARTS.values())
        splits = hold_out_last(train, VALIDATION)
        if self.options.images is not None:
            kept = rs.stratified(splits["train"].labels, self.options.images, seed=SUBSET_SEED)
            splits["train"] = rs.Images(splits["train"].images[kept], splits["train"].labels[kept])
        return {**splits, "test": test}

    def _found(self, folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """The array of each file that is whole somewhere, and what is wrong with those that are not."""
        from robuststack_plugins.datasets.idx import read_known

        arrays: dict[str, np.ndarray] = {}
        flaws: list[str] = []
        for name, sha256 in self.unpacked.items():
            paths = [place / file for place in self.places(folder) for file in (name, f"{name}.gz")]
            for path in paths:
                if name in arrays or not path.is_file():
                    continue
                try:
                    arrays[name] = read_known(path, sha256)
                except ValueError as flaw:
                    flaws.append(f"{path} {flaw}")
        return arrays, flaws

    def _fetch(self, folder: Path, flaws: Sequence[str]) -> None:
        """Download the files, or say both ways to get them, and which files there are that cannot be used."""
        from robuststack_plugins.datasets.downloads import fetch

        try:
            fetch(self, folder)
        except rs.DatasetError as error:
            package = f", or install the system's package: apt-get install {self.package}" if self.package else ""
            unusable = f" (not usable: {'; '.join(flaws)})" if flaws else ""
            raise rs.DatasetError(f"{error}{package}{unusable}") from None

    def _images(self, images: np.ndarray, labels: np.ndarray) -> rs.Images:
        import numpy as np

        return rs.Images(images[:, None].repeat(self.options.channels, axis=1), labels.astype(np.int64))


class FashionMnist(Mnist):
    """70,000 gray images of clothes, 1 x 28 x 28, 10 classes; the last 5,000 training images validate."""

    paper = "Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017"
    eps = 0.1
    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    server = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    folder = "FashionMNIST"
    gzipped: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    unpacked: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
    package = "dataset-fashion-mnist"
