"""A new plugin package, written from the templates in this package."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from robuststack.errors import PluginError, RobustStackError
from robuststack.plugin.registry import Registry

PREFIX = "robuststack"
SKIPPED = ("__pycache__", ".ruff_cache", ".mypy_cache")


@dataclass(frozen=True)
class Package:
    """What a plugin package and its parts are called: `soft_labels` is registered by `robuststack-soft-labels`."""

    kind: str
    name: str
    """As suites write it: a Python identifier in lower case."""

    @property
    def dashed(self) -> str:
        return self.name.replace("_", "-")

    @property
    def class_name(self) -> str:
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def distribution(self) -> str:
        return f"{PREFIX}-{self.dashed}"

    @property
    def module(self) -> str:
        return f"{PREFIX}_{self.name}"

    def filled(self, text: str) -> str:
        """A template, or a file's name, with this package's names in place of the placeholders."""
        for placeholder, value in (
            ("the-name", self.dashed),
            ("the_name", self.name),
            ("TheName", self.class_name),
            ("the_kind", self.kind),
        ):
            text = text.replace(placeholder, value)
        return text

    def contents(self) -> dict[str, str]:
        """Path inside the package -> text."""
        templates = files("robuststack.plugin").joinpath("templates")
        texts = {**_texts(templates / "common"), **_texts(templates / self.kind)}
        return {self.filled(path): self.filled(text) for path, text in texts.items()}


def named(kind: str, name: str, registry: Registry) -> Package:
    """The package of a new component, under a name that suites, Python and pip can use.

    `Soft-Labels`, `SoftLabels` and `robuststack-soft-labels` all become `soft_labels`.

    Raises:
        PluginError: the name is no identifier, or is taken.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("-", "_")).lower().removeprefix(f"{PREFIX}_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", words) or keyword.iskeyword(words):
        raise PluginError(
            f"{name!r} cannot name a plugin: it must become a Python identifier; use letters, digits, '-' and '_',"
            " beginning with a letter, such as soft_labels"
        )
    package = Package(kind, words)
    try:
        taken = registry.find(kind, words)
    except PluginError:
        taken = None
    if taken is not None or words in registry.names(kind):
        where = f" by {taken.origin}" if taken is not None else ""
        raise PluginError(f"{kind} {words!r} is registered already{where}; choose another name")
    if importlib.util.find_spec(package.module) is not None:
        raise PluginError(f"a package {package.distribution!r} is installed already; choose another name")
    return package


def write(package: Package, parent: Path) -> list[Path]:
    """Write the package into a new folder of its name inside `parent`.

    Raises:
        RobustStackError: the folder exists, or cannot be written.
    """
    folder = parent / package.distribution
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise RobustStackError(f"{folder} exists; choose another name, or another folder with -o DIR") from None
    except OSError as error:
        raise RobustStackError(f"{folder} cannot be made: {error.strerror or error}") from None
    written = []
    try:
        for name, text in sorted(package.contents().items()):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise RobustStackError(f"{folder} cannot be written: {error.strerror or error}") from None
    return written


def _texts(folder: Traversable) -> Mapping[str, str]:
    return dict(_walk(folder, ""))


def _walk(folder: Traversable, inside: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.name in SKIPPED:
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{inside}{entry.name}/")
        else:
            yield f"{inside}{entry.name}", entry.read_text(encoding="utf-8")
