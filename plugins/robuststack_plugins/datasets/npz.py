"""A user's own arrays."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal

import robuststack as rs
from robuststack_plugins.datasets.arrays import LabelledArrays
from robuststack_plugins.datasets.own import Own
from robuststack_plugins.datasets.splits import held_out, hold_out_last


class Npz(Own):
    """A user's own arrays in one .npz file: x_train, y_train, x_test, y_test and perhaps x_validation, y_validation.

    x holds images, uint8 (0 to 255) or float32 (0 to 1), in the order of axes that `layout` says; y holds labels, whole
    numbers [N] from 0. The training labels decide how many classes there are. Without x_validation the last images of
    x_train validate, so these should be in no order.
    """

    class Options(Own.Options):
        layout: Literal["nchw", "nhwc"] = rs.option("nchw", "Order of the axes: channels before or after the pixels.")
        channels: Literal[1, 3] | None = rs.option(
            None, "3 repeats the one channel of grayscale images; null leaves images as they are."
        )

    @cached_property
    def fingerprint(self) -> str:
        with self._arrays.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._shape
        return self.options.channels or channels, height, width

    @cached_property
    def num_classes(self) -> int:
        labels = self._arrays.read("y_train")
        if labels.min() != 0 or labels.max() == 0:
            raise self.error(f"labels of y_train go from {labels.min()} to {labels.max()}; valid: from 0 to at least 1")
        return int(labels.max()) + 1

    def size(self, split: rs.Split) -> int:
        if split == "test" or "validation" in self._arrays.splits:
            return self._arrays.count(split)
        count = self._arrays.count("train")
        held = held_out(count, self.options.validation)
        return held if split == "validation" else count - held

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        found = {split: self._images(split) for split in self._arrays.splits}
        if "validation" in found:
            return found
        return {**found, **hold_out_last(found["train"], self.size("validation"))}

    def _images(self, split: rs.Split) -> rs.Images:
        import numpy as np

        images, labels = self._arrays.read(f"x_{split}"), self._arrays.read(f"y_{split}")
        if self.options.layout == "nhwc":
            images = images.transpose(0, 3, 1, 2)
        if images.shape[1] != self.shape[0]:
            images = images.repeat(self.shape[0], axis=1)
        return rs.Images(images, labels.astype(np.int64))

    @cached_property
    def _arrays(self) -> LabelledArrays:
        return LabelledArrays(self.place, self.error)

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image in the file.

        Raises:
            DatasetError: the options do not fit the file.
        """
        shape = self._arrays.headers["x_train"].shape[1:]
        read = {"nchw": shape, "nhwc": (shape[2], shape[0], shape[1])}
        channels, height, width = read.pop(self.options.layout)
        ((other, swapped),) = read.items()
        if channels not in (1, 3) and swapped[0] in (1, 3):
            raise self.error(
                f"images of shape {shape} have {channels} channels as {self.options.layout}; was layout {other} meant?"
            )
        if self.options.channels not in (None, channels) and channels != 1:
            raise self.error(
                f"channels is {self.options.channels}, the images have {channels}; only one can be repeated"
            )
        return channels, height, width
