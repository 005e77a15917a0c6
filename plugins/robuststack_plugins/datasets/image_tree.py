"""The image files below a folder, by part and class, and what lies there beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import robuststack as rs

EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LEFTOVERS = ("__macosx", "desktop.ini", "thumbs.db")
"""What archives and desktops leave behind, beside names that begin with a dot (`._x.png`, `.ipynb_checkpoints`)."""
PARTS: dict[rs.Split, tuple[str, ...]] = {
    "train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)
}  # fmt: skip
"""split -> the names that its folder may have."""

Below = dict[str, list[str]]
"""class -> its image files, sorted, as paths below the tree's root with forward slashes."""


class ImageTree:
    """<root>/<part>/<class>/**/<image>, listed and not read."""

    def __init__(self, root: Path, test: str | None = None) -> None:
        """`test` is the name of the folder of test images, if it is not one of those in `PARTS`."""
        self.root = root
        self.parts: dict[rs.Split, Below] = {}
        """Splits without a folder are absent."""
        self.hidden: list[str] = []
        """What archives, desktops and notebooks leave behind."""
        self.others: list[str] = []
        """Files that are no images by their names, or lie in no class's folder, and folders that are no part."""
        entries = self._entries(root) if root.is_dir() else []
        folders = {path.name for path in entries if path.is_dir()}
        self.names: dict[rs.Split, str] = {}
        """split -> the name of its folder."""
        for split, usual in PARTS.items():
            spellings = (test,) if test and split == "test" else [name for name in usual if name != test]
            there = [name for name in spellings if name in folders]
            if there:
                self.names[split] = there[0]
        splits = {name: split for split, name in self.names.items()}
        for path in entries:
            if path.name in splits and path.is_dir():
                self.parts[splits[path.name]] = self._classes(path)
            else:
                self.others.append(path.name)
        self.parts = {split: self.parts[split] for split in PARTS if split in self.parts}

    def _entries(self, folder: Path) -> list[Path]:
        """What lies in a folder, sorted, without what nobody put there."""
        paths = sorted(folder.iterdir())
        self.hidden += [self._relative(path) for path in paths if is_leftover(path.name)]
        return [path for path in paths if not is_leftover(path.name)]

    def _classes(self, part: Path) -> Below:
        entries = self._entries(part)
        self.others += [self._relative(path) for path in entries if not path.is_dir()]
        return {path.name: sorted(self._images(path)) for path in entries if path.is_dir()}

    def _images(self, folder: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
        above = (*above, folder.resolve())
        for path in self._entries(folder):
            if path.is_dir():
                if path.resolve() in above:  # A link back up: its images are counted already.
                    self.others.append(self._relative(path))
                else:
                    yield from self._images(path, above)
            elif path.name.lower().endswith(EXTENSIONS):
                yield self._relative(path)
            else:
                self.others.append(self._relative(path))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def is_leftover(name: str) -> bool:
    """Whether a file or folder is one that no user put there."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def in_order(names: list[str]) -> list[str]:
    """Names of classes sorted; if all of them are numbers, as numbers, so that 10 follows 9."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
