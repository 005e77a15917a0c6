"""A user's own image files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import robuststack as rs
from robuststack_plugins.datasets.image_tree import EXTENSIONS, PARTS, ImageTree, in_order
from robuststack_plugins.datasets.own import Own, counted, first_few, repeated
from robuststack_plugins.datasets.splits import held_out

if TYPE_CHECKING:
    import numpy as np

Labelled = list[tuple[str, int]]
"""Image files, as paths below the data set's folder with forward slashes, each with its label."""


class Folder(Own):
    """A user's own image files, below one folder: train/<class>/, test/<class>/ and perhaps validation/<class>/.

    Each of them is laid out as for torchvision's ImageFolder. They hold the same classes, which are numbered in the order
    of their names, numbers as numbers. Without a validation folder the last training images of each class, by name,
    validate; without a train folder the set only scores finished models. Images are turned as their camera says. The
    shorter side is resized to `size` (bilinear), and the square in the centre is cut out.
    """

    class Options(Own.Options):
        size: int = rs.option(32, "Height and width in pixels.", ge=1)
        channels: Literal[1, 3] = rs.option(3, "1 makes every image grayscale, 3 colour, whatever its file holds.")
        classes: list[str | int] | str | None = rs.option(
            None, "The classes' folders in the order of their labels: a list, or a file with one name a line."
        )
        test: str | None = rs.option(
            None, "The folder of test images if it is not called test: `val` for ImageNet's layout of train and val."
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.options.channels, self.options.size, self.options.size)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(os.fsencode("\0".join(self.classes)) + b"\0\0")
        for name, content in sorted(self._digests.items()):
            digest.update(os.fsencode(name) + b"\0" + content)
        return f"sha256:{digest.hexdigest()}"

    def size(self, split: rs.Split) -> int:
        return len(self._files.get(split, []))

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return {split: self._images(files) for split, files in self._files.items()}

    @cached_property
    def classes(self) -> Sequence[str]:
        parts = self._tree.parts
        for part in [part for part in ("test", *parts) if part not in parts]:
            validating = self._tree.names.get("validation")
            remedy = f"; say test: {validating} to score on it" if part == "test" and validating else ""
            name = (part == "test" and self.options.test) or part
            raise self.error(
                f"there is no folder {name}: {self._held}; expected train and test, with one folder a class in"
                f" each{remedy}"
            )
        if self.options.classes is not None:
            names = self.class_names(self.options.classes)
            for part, classes in parts.items():
                for name in sorted(set(classes) - set(names)):
                    raise self.error(f"classes: {name!r} is a folder of {part}, and is not named")
            return names
        (first, *others) = parts
        for part in others:
            for name in sorted(set(parts[first]) ^ set(parts[part])):
                there, absent = (first, part) if name in parts[first] else (part, first)
                raise self.error(f"class {name!r} is in {there}, but not in {absent}")
        if len(parts[first]) < 2:
            stray = [name for name in self._tree.others if name.rpartition("/")[0] == first]
            beside = f"; {first_few(stray)} lie in no class's folder ({first}/CLASS/)" if stray else ""
            raise self.error(
                f"{first} has {counted(len(parts[first]), 'folder')} of classes; at least 2 are needed{beside}"
            )
        return in_order(list(parts[first]))

    def training_problem(self) -> str:
        empty = [name for name in self.classes if not self._tree.parts.get("train", {}).get(name)]
        if "train" in self._tree.parts and empty:
            return f"has no training image of class {empty[0]!r}"
        return super().training_problem()

    @cached_property
    def notes(self) -> Sequence[str]:
        notes = [f"classes in the order of their labels: {', '.join(self.classes)}"]
        if self.options.classes is None and list(self.classes) != sorted(self.classes):
            notes.append("the classes' folders are numbers and are sorted as such, not as by ImageFolder (0, 1, 10, 2)")
        if self._tree.others:
            notes.append(f"left out, no images in folders of classes: {first_few(sorted(self._tree.others))}")
        if self._tree.hidden:
            notes.append(f"left out, hidden or left behind by other programs: {first_few(sorted(self._tree.hidden))}")
        absent = [name for name in self.classes if not self._tree.parts["test"].get(name)]
        if absent:
            notes.append(f"no test image of {first_few(absent)}")
        trained = {self._digests[name] for split in ("train", "validation") for name, _ in self._files.get(split, [])}
        tested = [self._digests[name] for name, _ in self._files["test"]]
        return [*notes, *repeated(sum(content in trained for content in tested), len(tested))]

    def _images(self, files: Labelled) -> rs.Images:
        import numpy as np

        images = np.empty((len(files), *self.shape), dtype=np.uint8)
        for row, (name, _) in enumerate(files):
            images[row] = self._pixels(name)
        if self.options.white is None and images.max() == 1:
            raise self.error(
                f"{files[0][0]} and the others hold 0 and 1 only: either 1 is white (white: 1), or they are nearly black"
                " (white: 255)"
            )
        return rs.Images(images, np.array([label for _, label in files], dtype=np.int64))

    def _pixels(self, name: str) -> np.ndarray:
        """One image, uint8 [C, H, W]."""
        import numpy as np
        from torchvision.transforms import functional

        from robuststack_plugins.datasets.pixels import decoded

        size, white = self.options.size, self.options.white
        try:
            image = decoded(self.place / name, self.options.channels)
        except ValueError as error:
            raise self.error(f"{name}: {error}") from None
        if white not in (None, 255):
            highest = np.asarray(image).max()
            if highest > white:
                raise self.error(f"{name}: values up to {highest}; valid with white: {white:g} are 0 to {white:g}")
            image = image.point([min(round(value * 255 / white), 255) for value in range(256)] * len(image.getbands()))
        square = np.asarray(functional.center_crop(functional.resize(image, size), [size, size]))
        return square[None] if self.options.channels == 1 else square.transpose(2, 0, 1)

    @property
    def _held(self) -> str:
        """What the place holds in place of a folder of images."""
        if not self.place.exists():
            return "there is no such place"
        if not self.place.is_dir():
            return "it is a file"
        names = sorted([*self._tree.names.values(), *(name for name in self._tree.others if "/" not in name)])
        return f"it holds {first_few(names)}" if names else "it is empty"

    @cached_property
    def _tree(self) -> ImageTree:
        try:
            return ImageTree(self.place, self.options.test)
        except OSError as error:
            raise self.error(f"it cannot be listed ({error})") from None

    @cached_property
    def _files(self) -> dict[rs.Split, Labelled]:
        files: dict[rs.Split, Labelled] = {split: [] for split in PARTS if split in self._tree.parts}
        holds_out = "train" in files and "validation" not in files
        if holds_out:
            files["validation"] = []
        for label, name in enumerate(self.classes):
            for split in self._tree.parts:
                least = 2 if holds_out and split == "train" else 1
                images = [(image, label) for image in self._below(split, name, least)]
                if least == 2 and images:
                    held = held_out(len(images), self.options.validation)
                    files["validation"] += images[-held:]
                    images = images[:-held]
                files[split] += images
        return {split: images for split, images in files.items() if images}

    def _below(self, split: rs.Split, name: str, least: int) -> list[str]:
        """The image files of a class, sorted; none of one that the option `classes` names and that has no folder."""
        images = self._tree.parts[split].get(name)
        if images is None:
            return []
        if len(images) < least:
            more = " (one trains, one validates)" if least == 2 else ""
            raise self.error(
                f"{split}/{name} has {counted(len(images), 'image')} ({', '.join(EXTENSIONS)}); at least {least}"
                f" {'are' if least > 1 else 'is'} needed{more}"
            )
        return images

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        """The hash of each image file."""
        digests = {}
        for name in [name for files in self._files.values() for name, _ in files]:
            try:
                with (self.place / name).open("rb") as file:
                    digests[name] = hashlib.file_digest(file, "sha256").digest()
            except OSError as error:
                raise self.error(f"{name}: it cannot be read ({error})") from None
        return digests
