"""What data sets of a user's own have in common: where they lie, and how they are read, split, augmented and attacked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import robuststack as rs
from robuststack.paths import expanded

NAMED = 3
"""How many of a list a note names."""


class Own(rs.Dataset):
    """Images that the user brings. They are known by their content, not by where they lie."""

    class Options(rs.Options):
        path: str = rs.option("", "Where the data is; relative to the current folder.", place=True)
        validation: float = rs.option(0.1, "Share of the training images that validates.", gt=0, lt=1)
        eps: rs.PixelLength = rs.option(8 / 255, "The usual Linf radius.")
        pad: int = rs.option(0, "Training images are padded so many pixels on each side and cropped back.", ge=0)
        flip: bool = rs.option(False, "Training images are mirrored at random.")
        white: rs.Number | None = rs.option(
            None, "The stored value that is white. Default: 255 for bytes, 1 for floats, and doubtful values are refused.",
            gt=0,
        )  # fmt: skip

    def __init__(self, options: rs.Options | None = None) -> None:
        super().__init__(options)
        self.eps = self.options.eps
        self.augmentation = rs.Augmentation(pad=self.options.pad, flip=self.options.flip)
        self.nearly_black = self.options.white is not None

    @property
    def place(self) -> Path:
        """Where the data is.

        Raises:
            DatasetError: the option is not given.
            RobustStackError: it begins with a home folder that is not there.
        """
        if not self.options.path:
            raise rs.DatasetError(f"dataset {self.name!r}: option 'path' is not given; it says where your data is")
        return expanded(self.options.path)

    def error(self, problem: str) -> rs.DatasetError:
        """The error that names this data set and its place."""
        return rs.DatasetError(f"dataset {self.name!r}, {self.place}: {problem}")

    def class_names(self, given: str | Sequence[str | int]) -> list[str]:
        """The names of an option `classes`: a list, or a file with one name a line, in the order of the labels.

        Raises:
            DatasetError: the file cannot be read, a name stands there twice, or there are fewer than two.
            RobustStackError: its path begins with a home folder that is not there.
        """
        if isinstance(given, str):
            try:
                lines = expanded(given).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise self.error(f"classes: {given!r} is no file with one name a line ({error})") from None
            given = [line.strip() for line in lines if line.strip()]
        names = [str(name) for name in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise self.error(f"classes: {twice[0]!r} is named twice")
        if len(names) < 2:
            raise self.error(f"classes: {len(names)} named; at least 2 are needed")
        return names


def first_few(names: Collection[str]) -> str:
    """The first names of a list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return f"{', '.join(listed[:NAMED])}{more}"


def repeated(count: int, total: int) -> list[str]:
    """The note that test images are in the training data too, if any is."""
    return [f"{count} of {total} test images are among the training images too, byte for byte"] if count else []


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
