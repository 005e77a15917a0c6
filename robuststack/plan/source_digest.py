"""Digests of the meaning of source code: what a stored result was computed with, so that an edited plugin never gets a
stale one."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from robuststack.plan.kept_meanings import KeptMeanings

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
DECIDES = tuple(f"{part}." for part in ENGINE)

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
        pending += [other for other in imported if other not in hashes]
    text = json.dumps(sorted(hashes.items()))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    if folder is None:
        _made_of()[digest] = hashes
    return digest


def _decides(name: str) -> bool:
    """Whether a module is of the host code that decides what is computed."""
    return f"{name}.".startswith(DECIDES)


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


def known_sources(digests: Iterable[str]) -> dict[str, str]:
    """Module -> the hash of what its source meant when these digests were made of it in this process."""
    return {name: meant for digest in digests for name, meant in _made_of().get(digest, {}).items()}


def changed_sources(known: Mapping[str, str]) -> list[str]:
    """The modules whose source means something else now than is `known` of them, whatever this process has read before."""
    return [name for name, meant in known.items() if _read_now(name, None)[0] != meant]


@cache
def _made_of() -> dict[str, dict[str, str]]:
    return {}


@cache
def _read(name: str, folder: Path | None) -> tuple[str, tuple[str, ...]]:
    return _read_now(name, folder)


def _read_now(name: str, folder: Path | None) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's meaning, and what counts of the names that it imports (inside functions too)."""
    origin = _origin(name, folder)
    if origin is None:
        return "", ()
    text = origin.read_bytes()
    try:
        meaning = _meanings().of(text)
    except (SyntaxError, ValueError, RecursionError):  # Importing it, if ever, will say so.
        return hashlib.sha256(text).hexdigest(), ()
    parent = name if origin.name == "__init__.py" else name.rpartition(".")[0]
    imported = dict.fromkeys(meaning.imported(parent))
    return meaning.hash, tuple(other for other in imported if _decides(other) or _belongs(other, name, folder))


@cache
def _meanings() -> KeptMeanings:
    return KeptMeanings()


def keep_meanings() -> None:
    """Keep what was read for the next process."""
    _meanings().keep()


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
        # Most names are of no module: a `Path` for each would cost more than the search.
        path = os.path.join(place, *rest)
        for candidate in (os.path.join(path, "__init__.py"), f"{path}.py"):
            if os.path.isfile(candidate):
                return Path(candidate)
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
