"""A user's own arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import robuststack as rs
from robuststack_plugins.datasets.arrays import LabelledArrays
from robuststack_plugins.datasets.brightness import BLACK, brightened
from robuststack_plugins.datasets.own import Own, first_few, repeated
from robuststack_plugins.datasets.splits import held_out

if TYPE_CHECKING:
    import numpy as np

VALIDATION_SEED = 20220615
"""The same images validate in every run."""
MOST_CLASSES = 100_000
"""Above this a label is a mark for something that has none."""
DARK = 1 / 4
"""Values of which none is such a share of white are probably of another scale."""


class Npz(Own):
    """A user's own arrays in one .npz file: x_test and y_test, perhaps x_train, y_train, x_validation, y_validation.

    x holds images, uint8 (0 to 255) or float32 (0 to 1), in the order of axes that `layout` says; other types are
    converted. y holds labels, whole numbers [N] from 0. The training labels decide how many classes there are. Without
    x_validation a share of x_train validates, each class in proportion, drawn with a fixed seed. Without x_train the set
    only scores finished models.
    """

    class Options(Own.Options):
        layout: Literal["nchw", "nhwc"] | None = rs.option(
            None,
            "Order of the axes: channels before or after the pixels. Default: nchw, and doubtful shapes are refused.",
        )
        channels: Literal[1, 3] | None = rs.option(
            None, "3 repeats the one channel of grayscale images; null leaves images as they are."
        )
        classes: list[str | int] | str | int | None = rs.option(
            None, "Names in the order of the labels (a list, or a file with one a line), or how many classes there are."
        )

    @cached_property
    def fingerprint(self) -> str:
        with self._arrays.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update("\0".join(self.classes).encode())
        return f"sha256:{digest.hexdigest()}"

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._shape
        return self.options.channels or channels, height, width

    @cached_property
    def classes(self) -> Sequence[str]:
        given = self.options.classes
        return () if given is None or isinstance(given, int) else self.class_names(given)

    @cached_property
    def num_classes(self) -> int:
        first = self._arrays.splits[0]
        labels = self._labels[first]
        said = len(self.classes) or self.options.classes
        if said is None and (labels.min() != 0 or labels.max() == 0):
            raise self.error(
                f"labels of y_{first} go from {labels.min()} to {labels.max()}; valid: from 0 to at least 1. If they count"
                " from 1, subtract 1; if classes are missing, say with `classes` how many there are"
            )
        count = int(labels.max()) + 1 if said is None else int(said)
        if count > MOST_CLASSES:
            whose = f"a label {labels.max()} of y_{first}" if said is None else "`classes`"
            raise self.error(
                f"{whose} makes {count:,} classes; at most {MOST_CLASSES:,}. Is it a mark of something else?"
            )
        for split, labels in self._labels.items():
            if labels.max() >= count:
                whose = f"the labels of y_{first} make {count} classes" if said is None else f"`classes` says {count}"
                raise self.error(f"y_{split} has a label {labels.max()}, and {whose}")
        return count

    def size(self, split: rs.Split) -> int:
        return (
            self._arrays.count(split) if split in self._arrays.splits and not self._held_out else len(self._rows(split))
        )

    def training_problem(self) -> str:
        problem = super().training_problem()
        if not problem:
            trained = set(self._labels["train"][self._rows("train")].tolist())
            for split, labels in self._labels.items():
                missing = sorted(set(labels.tolist()) - trained)
                if missing:
                    return f"has no training image of class {missing[0]}, which y_{split} has"
        return problem

    @cached_property
    def notes(self) -> Sequence[str]:
        notes = [f"classes in the order of their labels: {', '.join(self.classes)}"] if self.classes else []
        seen = {split: set(labels.tolist()) for split, labels in self._labels.items()}
        absent = sorted(set(range(self.num_classes)) - set().union(*seen.values()))
        if absent:
            notes.append(
                f"{self.num_classes} classes, and these labels never occur: {first_few([str(label) for label in absent])}"
            )
        untested = sorted(set(range(self.num_classes)) - seen["test"] - set(absent))
        if untested:
            notes.append(f"no test image of label {first_few([str(label) for label in untested])}")
        if self._arrays.unread:
            notes.append(f"arrays that are not read: {first_few(self._arrays.unread)}")
        brightest, white = self._brightest
        # A white that was given is doubted however dark the values are; without one, they would have been refused.
        darkest = 0.0 if self.options.white is not None else BLACK * white
        if darkest < brightest < DARK * white:
            notes.append(
                f"the brightest of these values is {brightest:g} and white is {white:g}, so images are nearly black; if"
                f" {brightest:g} is white, say white: {brightest:g}"
            )
        trained = {
            hashlib.sha256(row).digest()
            for split in self._arrays.splits if split != "test" for row in self._arrays.rows(f"x_{split}")
        }  # fmt: skip
        if not trained:
            return notes
        count = sum(hashlib.sha256(row).digest() in trained for row in self._arrays.rows("x_test"))
        return [*notes, *repeated(count, self._arrays.count("test"))]

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        splits = {split: self._images(split) for split in self._arrays.splits}
        if not self._held_out:
            return splits
        train = splits["train"]
        parts: dict[rs.Split, rs.Images] = {
            split: rs.Images(train.images[self._rows(split)], train.labels[self._rows(split)])
            for split in ("train", "validation") if self.size(split)
        }  # fmt: skip
        return {**splits, **parts}

    @property
    def _held_out(self) -> bool:
        """Whether training images validate."""
        return "train" in self._arrays.splits and "validation" not in self._arrays.splits

    def _rows(self, split: rs.Split) -> np.ndarray:
        """The rows of its array that a split takes: int64, sorted."""
        import numpy as np

        if not self._held_out or split == "test":
            return np.arange(self._arrays.count(split))
        return (
            self._validation_rows
            if split == "validation"
            else np.setdiff1d(np.arange(self._arrays.count("train")), self._validation_rows)
        )

    @cached_property
    def _validation_rows(self) -> np.ndarray:
        labels = self._labels["train"]
        return rs.stratified(labels, held_out(len(labels), self.options.validation), seed=VALIDATION_SEED, leave=1)

    def _images(self, split: rs.Split) -> rs.Images:
        images = self._arrays.read(f"x_{split}")
        if images.ndim == 3:
            images = images[:, None]
        elif self.options.layout == "nhwc":
            images = images.transpose(0, 3, 1, 2)
        images = brightened(images, self.options.white, lambda problem: self.error(f"x_{split} holds {problem}"))
        if images.shape[1] != self.shape[0]:
            images = images.repeat(self.shape[0], axis=1)
        return rs.Images(images, self._labels[split])

    @property
    def _brightest(self) -> tuple[float, float]:
        """The brightest value, or one that is no darker than `DARK`, and the one that is white."""
        import numpy as np

        brightest, white = 0.0, 1.0
        for split in self._arrays.splits:
            kind = self._arrays.headers[f"x_{split}"].dtype
            white = self.options.white or (255.0 if kind.kind in "iu" else 1.0)
            for row in self._arrays.rows(f"x_{split}") if kind.kind in "iuf" else ():
                brightest = max(brightest, float(np.frombuffer(row, kind).max()))
                if brightest >= DARK * white:
                    return brightest, white
        return brightest, white

    @cached_property
    def _arrays(self) -> LabelledArrays:
        return LabelledArrays(self.place, self.error)

    @cached_property
    def _labels(self) -> dict[rs.Split, np.ndarray]:
        return {split: self._arrays.labels(split) for split in self._arrays.splits}

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image in the file.

        Raises:
            DatasetError: the options do not fit the file.
        """
        shape = self._arrays.headers[f"x_{self._arrays.splits[0]}"].shape[1:]
        if len(shape) == 2:
            return self._fitting((1, shape[0], shape[1]))
        first, second, third = shape
        read = {"nchw": (first, second, third), "nhwc": (third, first, second)}
        layout = self.options.layout or "nchw"
        mine = read.pop(layout)
        ((other, swapped),) = read.items()
        # Who says the layout may have images of one row or column in any number of channels.
        wrong = mine[0] not in (1, 3) and swapped[0] in (1, 3) and (self.options.layout is None or min(swapped[1:]) > 1)
        if wrong or (self.options.layout is None and not _plausible(mine) and _plausible(swapped)):
            raise self.error(f"images of shape {shape} have {mine[0]} channels as {layout}; was layout {other} meant?")
        # One pixel of one channel is the same in both.
        if self.options.layout is None and shape != (1, 1, 1) and _plausible(mine) and _plausible(swapped):
            raise self.error(
                f"images of shape {shape} can be {mine[0]} channels before the pixels or {swapped[0]} behind them; say"
                " layout: nchw or layout: nhwc"
            )
        return self._fitting(mine)

    def _fitting(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if self.options.channels not in (None, shape[0]) and shape[0] != 1:
            raise self.error(
                f"channels is {self.options.channels}, the images have {shape[0]}; only one can be repeated"
            )
        return shape


def _plausible(shape: tuple[int, int, int]) -> bool:
    """Whether (C, H, W) is like an image: gray, colour, or with fewer channels than pixels on a side."""
    channels, height, width = shape
    return channels in (1, 3) or channels < min(height, width)
