"""Data on the device, whole where it fits, and batches of it, augmented there."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robuststack.engine.random_streams import generator, seeded
from robuststack.errors import DatasetError, RobustStackError
from robuststack.plugin.dataset import Augmentation, Dataset, Images, Split
from robuststack.plugin.failing import innermost, told

TOLERANCE = 1e-6
"""Values so far outside [0, 1] are rounding (a sum of float32 products ends a few bits above 1), and are clipped."""


@dataclass(frozen=True)
class Data:
    """One split: `labels` int64 [N] on the device, `images` uint8 or float32 [N, C, H, W] there too or in host memory.

    Batches are on the labels' device either way, and the same.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Copies of images, as float32 in [0, 1], channels-last, and of labels: a model that writes into its input must not
        change what later jobs see."""
        rows = index.to(self.images.device) if isinstance(index, Tensor) else index
        images = self.images[rows].to(self.labels.device)  # Bytes travel, a quarter of what floats would.
        if images.dtype == torch.uint8:
            images = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        else:
            # `contiguous` gives the very memory of gray images: theirs is laid out channels-last as it is.
            images = images.to(memory_format=torch.channels_last, copy=True)
        return images, self.labels[index].clone()

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, the last batch as small as it comes."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def at(self, chosen: np.ndarray) -> Data:
        """The images in the rows `chosen` [M], sorted, and their labels; these data themselves if that is all."""
        if len(chosen) == len(self):
            return self
        rows = torch.from_numpy(chosen)
        return Data(self.images[rows.to(self.images.device)], self.labels[rows.to(self.labels.device)])


def load(dataset: Dataset, folder: Path, device: torch.device) -> dict[Split, Data]:
    """All splits of a dataset, checked and placed: on the device where there is room for them, else in host memory.

    Raises:
        DatasetError: it cannot be read, or has a wrong shape, size or type, wrong labels, or values outside [0, 1].
    """
    splits = _read(dataset, folder)
    splits = {split: _checked(dataset, split, data) for split, data in splits.items()}
    fits = sum(data.images.nbytes for data in splits.values()) <= room(device)
    return {split: _placed(data, device, device if fits else torch.device("cpu")) for split, data in splits.items()}


def _read(dataset: Dataset, folder: Path) -> dict[Split, Images]:
    """What the dataset's own code gives.

    Raises:
        DatasetError: it fails, or gives something else.
    """
    try:
        splits = dataset.load(folder)
    except (RobustStackError, MemoryError):
        raise
    except Exception as error:  # A plugin's file is missing, say.
        place = innermost(list(traceback.walk_tb(error.__traceback__)))
        raise DatasetError(f"dataset {dataset.name!r} cannot be read: {told(error, place)}") from error
    if not isinstance(splits, Mapping) or not all(isinstance(data, Images) for data in splits.values()):
        raise DatasetError(f"dataset {dataset.name!r}: load gives no dictionary of splits, each with its `rs.Images`")
    for split, data in splits.items():
        kinds = [type(values).__name__ for values in (data.images, data.labels) if not isinstance(values, np.ndarray)]
        if kinds:
            raise DatasetError(
                f"dataset {dataset.name!r}, split {split}: images or labels are of type {kinds[0]}; valid: NumPy arrays"
            )
    return splits


def room(device: torch.device) -> float:
    """How many bytes of images may lie on a device: a third of what is free, since model, activations and the attack's
    copies need the rest. In host memory they lie anyway."""
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    return free / 3


def _placed(data: Images, device: torch.device, place: torch.device) -> Data:
    images = torch.from_numpy(np.ascontiguousarray(data.images)).to(place)
    return Data(images, torch.from_numpy(data.labels.astype(np.int64)).to(device))


def _checked(dataset: Dataset, split: Split, data: Images) -> Images:
    """The split with values within `TOLERANCE` of [0, 1] clipped.

    Raises:
        DatasetError: it is not what it says.
    """
    where = f"dataset {dataset.name!r}, split {split}"
    images, labels = data.images, data.labels
    if images.dtype not in (np.uint8, np.float32):
        raise DatasetError(f"{where}: images are {images.dtype}; valid: uint8 (0 to 255) or float32 (0 to 1)")
    if tuple(images.shape[1:]) != tuple(dataset.shape):
        raise DatasetError(f"{where}: images have shape {images.shape[1:]}, the dataset declares {dataset.shape}")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(f"{where}: labels are {labels.dtype} of shape {labels.shape}; valid: whole numbers [N]")
    if len(images) != len(labels) or len(labels) != dataset.size(split):
        raise DatasetError(
            f"{where}: {len(images)} images and {len(labels)} labels, the dataset declares {dataset.size(split)}"
        )
    if len(labels) == 0:
        raise DatasetError(f"{where}: no images; a split that the data does not have is left out, and its size is 0")
    problem = _range_problem(images, dataset.nearly_black)
    if problem:
        raise DatasetError(f"{where}: {problem}")
    if labels.min() < 0 or labels.max() >= dataset.num_classes:
        raise DatasetError(
            f"{where}: labels from {labels.min()} to {labels.max()}; {dataset.num_classes} classes are declared"
        )
    return Images(images.clip(0, 1), labels) if images.dtype == np.float32 else data


def _range_problem(images: np.ndarray, nearly_black: bool) -> str:
    """What is wrong with the values of images, uint8 or float32 [N, C, H, W]; empty if nothing is."""
    low, high = images.min(), images.max()
    if images.dtype == np.uint8:
        if 0 < high <= 1 and not nearly_black:
            return (
                "bytes of 0 and 1 only, and 255 is white: either they were meant to be 0 and 255 (multiply them), or"
                " these images are nearly black (declare `nearly_black = True`)"
            )
        return ""
    if not (np.isfinite(low) and np.isfinite(high)):
        index = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
        return f"image {index} holds NaN or infinity"
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        return (
            f"values from {_digits(low)} to {_digits(high)}; models take [0, 1], and normalisation belongs inside them"
            f"{_scale(low, high)}"
        )
    if 0 < high <= (1 + TOLERANCE) / 255 and not nearly_black:
        return (
            f"values reach {_digits(high)} only, and 1 is white: either they were divided by 255 twice (multiply them),"
            " or these images are nearly black (declare `nearly_black = True`)"
        )
    return ""


def _scale(low: np.float32, high: np.float32) -> str:
    """What values outside [0, 1] look like, as the end of a sentence."""
    excess = max(-low, high - 1)
    if excess < 0.01:
        return f" (these end {excess:.2g} outside)"
    if low >= 0:
        return "; these look like 0 to 255: divide them by 255" if high > 2 else ""
    if low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
        return "; these look scaled to [-1, 1]: store (x + 1) / 2"
    return "; these look normalised by a mean and a standard deviation: store x * std + mean"


def _digits(value: np.float32) -> str:
    """As few digits as tell it from its neighbours."""
    short = f"{value:g}"
    return short if np.float32(short) == value else str(value)


def training_batches(
    data: Data, size: int, augmentation: Augmentation, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in an order of its own, augmented; the last partial batch is dropped."""
    device = data.labels.device
    order = torch.randperm(len(data), generator=generator(device, seed, "order", epoch), device=device)
    # Once an epoch: each copy from the device waits for everything before it.
    order = order.to(data.images.device)
    for number in range(len(data) // size):
        x, y = data.batch(order[number * size : (number + 1) * size])
        if augmentation != Augmentation():
            with seeded(seed, "augmentation", epoch, number):
                x = augment(x, augmentation)
        yield x, y


def augment(x: Tensor, augmentation: Augmentation) -> Tensor:
    """Random crops of the zero-padded images and random mirroring, each image on its own, in one gather."""
    count, _, height, width = x.shape
    rows = torch.arange(height, device=x.device).expand(count, height)
    columns = torch.arange(width, device=x.device).expand(count, width)
    if augmentation.flip:
        mirrored = torch.rand(count, 1, device=x.device) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    pad = augmentation.pad
    if pad:
        x = functional.pad(x, (pad, pad, pad, pad))
        rows = rows + torch.randint(2 * pad + 1, (count, 1), device=x.device)
        columns = columns + torch.randint(2 * pad + 1, (count, 1), device=x.device)
    images = torch.arange(count, device=x.device)[:, None, None]
    # Indexing the channels-last view keeps a pixel's channels together.
    picked = x.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
