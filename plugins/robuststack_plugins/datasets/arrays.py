"""The arrays of an .npz file: what they are, known from their headers alone, and their values."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, get_args

import robuststack as rs
from robuststack.file_kind import HEAD, file_kind
from robuststack_plugins.datasets.own import first_few

if TYPE_CHECKING:
    import numpy as np


UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a damaged, encrypted or unusually compressed .npz file raises."""


class Header(NamedTuple):
    """An array without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_rows: bool
    """Whether its first axis is the outermost in the file."""


class LabelledArrays:
    """The arrays x_<split> (images) and y_<split> (labels) of a file; those of `train` or `validation` may be absent.

    Raises:
        DatasetError: the file cannot be read, lacks an array, or holds one that can be no images or labels. `error` makes
            it of the problem.
    """

    def __init__(self, path: Path, error: Callable[[str], rs.DatasetError]) -> None:
        self.path = path
        self.error = error
        with self._reading(), zipfile.ZipFile(path) as file:
            self.members = _members(file, error)
            """Name of an array -> of its file in the archive."""
            present = self.members.keys()
            self.splits: list[rs.Split] = [
                split for split in get_args(rs.Split) if split == "test" or present & {f"x_{split}", f"y_{split}"}
            ]
            wanted = [f"{axis}_{split}" for split in self.splits for axis in "xy"]
            missing = [key for key in wanted if key not in present]
            if missing:
                held = f"it holds {first_few(sorted(present))}" if present else "it holds nothing"
                raise error(f"there is no array {missing[0]}: {held}; expected {', '.join(wanted)}")
            self.unread = sorted(present - set(wanted))
            """Other arrays of the file."""
            self.headers = {key: _header(file.open(self.members[key])) for key in wanted}
        for split in self.splits:
            self._check(split)

    def read(self, key: str) -> np.ndarray:
        """An array's values; nothing is ever unpickled."""
        import numpy as np

        with self._reading(), np.load(self.path, allow_pickle=False) as file:
            array: np.ndarray = file[key]
            return array

    def labels(self, split: rs.Split) -> np.ndarray:
        """The labels of a split: int64 [N].

        Raises:
            DatasetError: they are no whole numbers from 0.
        """
        import numpy as np

        stored = self.read(f"y_{split}").reshape(-1)
        # As float64: float16 cannot hold the bound.
        if stored.dtype.kind in "fui" and not (np.abs(stored.astype(np.float64)) < 2**31).all():
            raise self.error(f"y_{split} holds numbers that are no labels; valid: whole numbers [N]")
        labels: np.ndarray = stored.astype(np.int64)
        if not np.array_equal(labels, stored):
            raise self.error(f"y_{split} holds numbers that are not whole; valid: whole numbers [N]")
        if labels.min() < 0:
            raise self.error(f"labels of y_{split} go from {labels.min()} to {labels.max()}; valid: from 0")
        return labels

    def rows(self, key: str) -> Iterator[bytes]:
        """The bytes of each image, one after another, so that no array is held whole."""
        header = self.headers[key]
        if not header.by_rows:
            for row in self.read(key):
                yield row.tobytes()
            return
        size = math.prod(header.shape[1:]) * header.dtype.itemsize
        with self._reading(), zipfile.ZipFile(self.path) as archive, archive.open(self.members[key]) as file:
            _skip_header(file)
            for _ in range(header.shape[0]):
                yield file.read(size)

    def count(self, split: rs.Split) -> int:
        """How many images a split has."""
        return self.headers[f"y_{split}"].shape[0] if split in self.splits else 0

    def _check(self, split: rs.Split) -> None:
        images, labels = self.headers[f"x_{split}"], self.headers[f"y_{split}"]
        if images.dtype.kind not in "buif":
            valid = "uint8 (0 to 255), float32 (0 to 1), or another type of numbers"
            raise self.error(f"x_{split} is of type {images.dtype}; valid: {valid}")
        if len(images.shape) not in (3, 4) or 0 in images.shape[1:]:
            valid = "[N, C, H, W], [N, H, W, C] or, of one channel, [N, H, W]"
            raise self.error(f"x_{split} has shape {images.shape}; valid: {valid}")
        if labels.dtype.kind not in "biuf" or labels.shape[1:] not in ((), (1,)) or not labels.shape:
            raise self.error(
                f"y_{split} is of type {labels.dtype} and shape {labels.shape}; valid: whole numbers"
                f" [N]{_advice(labels, images.shape[0])}"
            )
        if images.shape[0] != labels.shape[0]:
            raise self.error(f"x_{split} holds {images.shape[0]} images, y_{split} {labels.shape[0]} labels")
        least = 2 if split == "train" else 1  # One trains, one validates.
        if labels.shape[0] < least:
            raise self.error(f"x_{split} holds {labels.shape[0]} images; at least {least} are needed")
        first = self.headers[f"x_{self.splits[0]}"].shape[1:]
        if images.shape[1:] != first:
            raise self.error(f"images of x_{split} have shape {images.shape[1:]}, those of x_{self.splits[0]} {first}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise self.error(f"it cannot be read as an .npz file: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        with self.path.open("rb") as file:
            head = file.read(HEAD)
        kind = "" if zipfile.is_zipfile(self.path) else file_kind(head)
        if kind.startswith("it is a zip archive"):
            return "it is cut off"
        return kind or f"{type(error).__name__}: {error}"


def _members(file: zipfile.ZipFile, error: Callable[[str], rs.DatasetError]) -> dict[str, str]:
    """Name of an array -> of its file in the archive. As NumPy does it, a file without `.npy` counts too."""
    members: dict[str, str] = {}
    for member in file.namelist():
        name = member.removesuffix(".npy")
        if name in members:
            raise error(f"there are two arrays {name}")
        members[name] = member
    return members


def _advice(labels: Header, images: int) -> str:
    """How labels of a known other form become numbers."""
    if labels.shape in ((1, images), (images, 1, 1)):
        return "; y.reshape(-1) gives them"
    if labels.dtype.kind in "US":
        return "; names become numbers by np.unique(y, return_inverse=True)[1]"
    if labels.dtype.kind in "biuf" and len(labels.shape) == 2:
        return "; one-hot labels become numbers by y.argmax(1)"
    return ""


def _header(file: IO[bytes]) -> Header:
    with file:
        shape, by_columns, dtype = _skip_header(file)
        return Header(shape, dtype, not by_columns)


def _skip_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a .npy file's header: its shape, whether it is in Fortran's order, and its type."""
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array in version {version} of its format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)  # type: ignore[no-any-return]
