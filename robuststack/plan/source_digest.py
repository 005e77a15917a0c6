"""Digests of the meaning of source code: what a stored result was computed with, so that an edited plugin never gets a
stale one. Comments, docstrings and formatting mean nothing here; everything else does."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import robuststack

# Host code that decides what is computed. Presentation (cli, leaderboard, progress) can change without new results.
CONTRACTS = (
    "architecture", "attack", "calibration", "component", "dataset", "defense", "download", "operating_point", "options",
    "phase", "threat", "training_step",
)  # fmt: skip
ENGINE = (
    "robuststack.attacks",
    "robuststack.engine",
    "robuststack.evidence",
    "robuststack.layers",
    *(f"robuststack.plugin.{contract}" for contract in CONTRACTS),
)

INSTALLED = ("site-packages", "dist-packages")
"""Folders in which what lies side by side has nothing to do with each other."""


def source_digest(modules: Iterable[str], alone: Iterable[str] = (), folder: Path | None = None) -> str:
    """A hash of the source of `modules` and of every module they import from the engine, from their own package, or from
    what lies beside it in a folder of the user's.

    Of the modules in `alone` only their own source counts, not what they import. What lies in `folder` hides an installed
    or an imported package of the same name.
    """
    return _source_digest(frozenset(modules), frozenset(alone), folder)


# For the length of the process, in which an imported module does not change either, whatever becomes of its file.
@cache
def _source_digest(modules: frozenset[str], alone: frozenset[str], folder: Path | None) -> str:
    hashes = {name: _read(name, folder)[0] for name in alone}
    pending = sorted(modules)
    while pending:
        name = pending.pop()
        if name in hashes:
            continue
        hashes[name], imported = _read(name, folder)
        for other in imported:
            if other not in hashes and (_decides(other) or _belongs(other, name, folder)):
                pending.append(other)
    text = json.dumps(sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _decides(name: str) -> bool:
    """Whether a module is of the host code that decides what is computed."""
    return any(name == part or name.startswith(f"{part}.") for part in ENGINE)


def _belongs(other: str, name: str, folder: Path | None) -> bool:
    """Whether what a module imports is a part of the same work: of its package, or beside it where nothing is installed."""
    own, package = name.partition(".")[0], other.partition(".")[0]
    if "robuststack" in (own, package):
        return False
    home = _home(own, folder)
    return own == package or (home is not None and home.name not in INSTALLED and home == _home(package, folder))


@cache
def _home(package: str, folder: Path | None) -> Path | None:
    """Where a top-level module or package lies."""
    origin = _origin(package, folder)
    if origin is not None:
        return origin.parent.parent if origin.name == "__init__.py" else origin.parent
    places = _places(package, folder)  # A package without __init__.py.
    return places[0].parent if places else None


def has_source(module: str, folder: Path | None = None) -> bool:
    """Whether a module's source can be found, without importing it."""
    return _origin(module, folder) is not None


def module_meaning(module: str) -> str:
    """The hash of what one module's source means; empty for a module without Python source."""
    return _read(module, None)[0]


@cache
def _read(name: str, folder: Path | None) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's meaning and the names it imports (imports inside functions too)."""
    origin = _origin(name, folder)
    if origin is None:
        return "", ()
    text = origin.read_bytes()
    try:
        meaning = Meaning(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):  # Importing it, if ever, will say so.
        return hashlib.sha256(text).hexdigest(), ()
    parent = name if origin.name == "__init__.py" else name.rpartition(".")[0]
    return meaning.hash(), tuple(meaning.imported(parent))


class Meaning:
    """A module's syntax tree as text, without docstrings, comments and formatting; the same in every version of Python."""

    def __init__(self, tree: ast.Module) -> None:
        self._parts: list[str] = []
        self._imports: list[ast.Import | ast.ImportFrom] = []
        self._attributes: set[tuple[str, str]] = set()
        self._add(tree)

    def hash(self) -> str:
        return hashlib.sha256("\0".join(self._parts).encode("utf-8", "surrogatepass")).hexdigest()

    def imported(self, parent: str) -> list[str]:
        """The modules that it imports; `parent` is the package that relative imports start from."""
        names: list[str] = []
        for node in self._imports:
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
                names += [
                    home
                    for alias in node.names
                    if alias.name == "robuststack"
                    for owner, attribute in self._attributes
                    if owner == (alias.asname or alias.name) and (home := _public_home(attribute))
                ]
                continue
            written = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(written, parent) if node.level else written
            # `from package import module`: a name that is a module counts too.
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
            if base == "robuststack":
                names += [home for alias in node.names if (home := _public_home(alias.name))]
        return names

    def _add(self, node: Any) -> None:
        # It visits every node of every module: one look at the type instead of several at what it may be.
        parts, kind = self._parts, type(node)
        if kind is ast.Name:
            parts += "name", node.id
            return
        if kind is ast.Constant:
            parts += "constant", repr(node.value)
            return
        if kind is ast.Attribute and type(node.value) is ast.Name:
            self._attributes.add((node.value.id, node.attr))
        elif kind is ast.Import or kind is ast.ImportFrom:
            self._imports.append(node)
        written = node.__dict__
        parts.append(kind.__name__)
        for name in SAID[kind]:
            value = written.get(name)
            if not value and (value is None or value == []):
                continue  # A later Python has fields that an earlier one has not.
            parts.append(name)
            if type(value) is list:
                for element in value:
                    if not isinstance(element, ast.AST):
                        parts.append(repr(element))
                    elif not _says_nothing(element):
                        self._add(element)
                parts.append("]")
            elif isinstance(value, ast.AST):
                self._add(value)
            else:
                parts.append(repr(value))
        parts.append(")")


class _Said(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of a kind of node that do not follow from the others, and do not only say how something was written."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        unsaid = ("ctx", "kind", "type_comment", "type_ignores")
        self[kind] = tuple(name for name in kind._fields if name not in unsaid)
        return self[kind]


SAID = _Said()


def _says_nothing(node: ast.AST) -> bool:
    """Whether it is a docstring (of an attribute too) or `pass`, which may stand in for one."""
    if type(node) is ast.Expr:
        return type(node.value) is ast.Constant and isinstance(node.value.value, str)
    return type(node) is ast.Pass


def _public_home(name: str) -> str | None:
    """The module that a public name, `robuststack.name`, is of."""
    return robuststack._HOME.get(name)


@cache
def _origin(name: str, folder: Path | None) -> Path | None:
    """The file of a module's Python source."""
    package, *rest = name.split(".")
    if folder is None or not _lies_in(package, folder):
        module = sys.modules.get(name)
        origin = getattr(module, "__file__", None)
        if origin is not None:
            return Path(origin) if origin.endswith(".py") else None
        spec = _find_spec(package)
        if spec is None:
            return None
        if not spec.submodule_search_locations:
            return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") and not rest else None
    elif not rest and (folder / f"{name}.py").is_file():
        return folder / f"{name}.py"
    # A search by hand below the package's folder: find_spec would import the parents, and with them torch.
    for place in _places(package, folder):
        path = place.joinpath(*rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
    return None


def _places(package: str, folder: Path | None) -> list[Path]:
    """The folders of a top-level package, or where the file of a top-level module lies in place of one."""
    if folder is not None and _lies_in(package, folder):
        return [folder / package]
    spec = _find_spec(package)
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec else []


def _find_spec(package: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except ValueError:  # A module that was made by hand, without a spec.
        return None


def _lies_in(package: str, folder: Path | None) -> bool:
    """Whether a folder holds a module or a package of this name."""
    if folder is None or package == "robuststack":
        return False
    return (folder / f"{package}.py").is_file() or (folder / package).is_dir()
