"""A user's own image files."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import robuststack as rs
from robuststack_plugins.datasets.own import Own
from robuststack_plugins.datasets.splits import held_out

if TYPE_CHECKING:
    import numpy as np

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

Labelled = list[tuple[str, int]]
"""Image files, as paths below the data set's folder with forward slashes, each with its label."""


class Folder(Own):
    """A user's own image files, below one folder: train/<class>/ and test/<class>/.

    Each of the two is laid out as for torchvision's ImageFolder, and both hold the same classes, which are numbered in the
    order of their names. The last training images of each class, by name, validate. An image's shorter side is resized to
    `size` (bilinear), and the square in its centre is cut out.
    """

    class Options(Own.Options):
        size: int = rs.option(32, "Height and width in pixels.", ge=1)
        channels: Literal[1, 3] = rs.option(3, "1 makes every image grayscale, 3 colour, whatever its file holds.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.options.channels, self.options.size, self.options.size)

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(name for files in self._files.values() for name, _ in files):
            try:
                with (self.place / name).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256")
            except OSError as error:
                raise self.error(f"{name}: it cannot be read ({error})") from None
            digest.update(os.fsencode(name) + b"\0" + content.digest())
        return f"sha256:{digest.hexdigest()}"

    def size(self, split: rs.Split) -> int:
        return len(self._files[split])

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return {split: self._images(files) for split, files in self._files.items()}

    def _images(self, files: Labelled) -> rs.Images:
        import numpy as np

        images = np.empty((len(files), *self.shape), dtype=np.uint8)
        for row, (name, _) in enumerate(files):
            images[row] = self._pixels(name)
        return rs.Images(images, np.array([label for _, label in files], dtype=np.int64))

    def _pixels(self, name: str) -> np.ndarray:
        """One image, uint8 [C, H, W]."""
        import numpy as np
        from torchvision.transforms import functional

        from robuststack_plugins.datasets.pixels import decoded

        size = self.options.size
        try:
            image = decoded(self.place / name, self.options.channels)
        except ValueError as error:
            raise self.error(f"{name}: {error}") from None
        square = np.asarray(functional.center_crop(functional.resize(image, size), [size, size]))
        return square[None] if self.options.channels == 1 else square.transpose(2, 0, 1)

    @cached_property
    def _classes(self) -> list[str]:
        found: dict[str, set[str]] = {}
        for part in ("train", "test"):
            below = self.place / part
            if not below.is_dir():
                raise self.error(f"there is no folder {part}; expected train and test, with one folder a class in each")
            found[part] = {one.name for one in below.iterdir() if one.is_dir()}
        differing = sorted(found["train"] ^ found["test"])
        if differing:
            there, absent = ("train", "test") if differing[0] in found["train"] else ("test", "train")
            raise self.error(f"class {differing[0]!r} is in {there}, but not in {absent}")
        if len(found["train"]) < 2:
            raise self.error(f"train has {len(found['train'])} folders of classes; at least 2 are needed")
        return sorted(found["train"])

    @cached_property
    def _files(self) -> dict[rs.Split, Labelled]:
        files: dict[rs.Split, Labelled] = {"train": [], "validation": [], "test": []}
        for label, name in enumerate(self._classes):
            train = [(one, label) for one in self._below(f"train/{name}", least=2)]
            held = held_out(len(train), self.options.validation)
            files["train"] += train[:-held]
            files["validation"] += train[-held:]
            files["test"] += [(one, label) for one in self._below(f"test/{name}", least=1)]
        return files

    def _below(self, part: str, least: int) -> list[str]:
        """The image files below a class's folder, sorted."""
        found = sorted(
            Path(folder, name).relative_to(self.place).as_posix()
            for folder, _, names in os.walk(self.place / part, followlinks=True)
            for name in names
            if name.lower().endswith(EXTENSIONS)
        )
        if len(found) < least:
            more = " (one trains, one validates)" if least == 2 else ""
            raise self.error(
                f"{part} has {len(found)} images ({', '.join(EXTENSIONS)}); at least {least} are needed{more}"
            )
        return found
