"""The arrays of an .npz file: what they are, known from their headers alone, and their values."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, get_args

import robuststack as rs

if TYPE_CHECKING:
    import numpy as np


class Header(NamedTuple):
    """An array without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class LabelledArrays:
    """The arrays x_<split> (images) and y_<split> (labels) of a file; those of `validation` may both be absent.

    Raises:
        DatasetError: the file cannot be read, lacks an array, or holds one that can be no images or labels. `error` makes
            it of the problem.
    """

    def __init__(self, path: Path, error: Callable[[str], rs.DatasetError]) -> None:
        self.path = path
        self.error = error
        with self._reading(), zipfile.ZipFile(path) as file:
            present = {name.removesuffix(".npy") for name in file.namelist()}
            validates = bool(present & {"x_validation", "y_validation"})
            self.splits: list[rs.Split] = [one for one in get_args(rs.Split) if one != "validation" or validates]
            wanted = [f"{axis}_{split}" for split in self.splits for axis in "xy"]
            missing = [key for key in wanted if key not in present]
            if missing:
                raise error(f"there is no array {missing[0]}; expected {', '.join(wanted)}")
            self.headers = {key: _header(file.open(f"{key}.npy")) for key in wanted}
        for split in self.splits:
            self._check(split)

    def read(self, key: str) -> np.ndarray:
        """An array's values; nothing is ever unpickled."""
        import numpy as np

        with self._reading(), np.load(self.path, allow_pickle=False) as file:
            array: np.ndarray = file[key]
            return array

    def count(self, split: rs.Split) -> int:
        """How many images a split has."""
        return self.headers[f"y_{split}"].shape[0]

    def _check(self, split: rs.Split) -> None:
        images, labels = self.headers[f"x_{split}"], self.headers[f"y_{split}"]
        if images.dtype.name not in ("uint8", "float32"):
            valid = "uint8 (0 to 255) or float32 (0 to 1)"
            raise self.error(f"x_{split} is of type {images.dtype}; valid: {valid}")
        if len(images.shape) != 4:
            raise self.error(f"x_{split} has shape {images.shape}; valid: [N, C, H, W] or [N, H, W, C]")
        if labels.dtype.kind not in "iu" or len(labels.shape) != 1:
            raise self.error(f"y_{split} is of type {labels.dtype} and shape {labels.shape}; valid: whole numbers [N]")
        if images.shape[0] != labels.shape[0]:
            raise self.error(f"x_{split} holds {images.shape[0]} images, y_{split} {labels.shape[0]} labels")
        least = 2 if split == "train" else 1  # One trains, one validates.
        if labels.shape[0] < least:
            raise self.error(f"x_{split} holds {labels.shape[0]} images; at least {least} are needed")
        first = self.headers["x_train"].shape[1:]
        if images.shape[1:] != first:
            raise self.error(f"images of x_{split} have shape {images.shape[1:]}, those of x_train {first}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise self.error(f"it cannot be read as an .npz file ({type(error).__name__}: {error})") from None


def _header(file: IO[bytes]) -> Header:
    from numpy.lib import format as npy

    with file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"an array in version {version} of its format")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        return Header(shape, dtype)
