"""What data sets of a user's own have in common: where they lie, and how they are split, augmented and attacked."""

from __future__ import annotations

from pathlib import Path

import robuststack as rs


class Own(rs.Dataset):
    """Images that the user brings. They are known by their content, not by where they lie."""

    class Options(rs.Options):
        path: str = rs.option("", "Where the data is; relative to the current folder.", place=True)
        validation: float = rs.option(0.1, "Share of the training images that validates.", gt=0, lt=1)
        eps: rs.PixelLength = rs.option(8 / 255, "The usual Linf radius.")
        pad: int = rs.option(0, "Training images are padded so many pixels on each side and cropped back.", ge=0)
        flip: bool = rs.option(False, "Training images are mirrored at random.")

    def __init__(self, options: rs.Options | None = None) -> None:
        super().__init__(options)
        self.eps = self.options.eps
        self.augmentation = rs.Augmentation(pad=self.options.pad, flip=self.options.flip)

    @property
    def place(self) -> Path:
        """Where the data is.

        Raises:
            DatasetError: the option is not given.
        """
        if not self.options.path:
            raise rs.DatasetError(f"dataset {self.name!r}: option 'path' is not given; it says where your data is")
        return Path(self.options.path).expanduser()

    def error(self, problem: str) -> rs.DatasetError:
        """The error that names this data set and its place."""
        return rs.DatasetError(f"dataset {self.name!r}, {self.place}: {problem}")
