"""Digests of source code: what a stored result was computed with, so that an edited plugin never gets a stale one."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

# Host code that decides what is computed. Presentation (cli, leaderboard, progress) can change without new results.
CONTRACTS = (
    "architecture", "attack", "component", "dataset", "defense", "download", "operating_point", "options", "threat",
    "training_step",
)  # fmt: skip
ENGINE = (
    "robuststack.attacks",
    "robuststack.engine",
    "robuststack.layers",
    *(f"robuststack.plugin.{contract}" for contract in CONTRACTS),
)

INSTALLED = ("site-packages", "dist-packages")
"""Folders in which what lies side by side has nothing to do with each other."""


def source_digest(modules: Iterable[str], alone: Iterable[str] = ()) -> str:
    """A hash of the source of `modules` and of every module they import from the engine, from their own package, or from
    what lies beside it in a folder of the user's.

    Of the modules in `alone` only their own source counts, not what they import.
    """
    return _source_digest(frozenset(modules), frozenset(alone))


@cache
def _source_digest(modules: frozenset[str], alone: frozenset[str]) -> str:
    files = {name: _read(name)[0] for name in alone}
    pending = sorted(modules)
    while pending:
        name = pending.pop()
        if name in files:
            continue
        hashed, imported = _read(name)
        files[name] = hashed
        for other in imported:
            if other not in files and (other.startswith(ENGINE) or _belongs(other, name)):
                pending.append(other)
    text = json.dumps(sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _belongs(other: str, name: str) -> bool:
    """Whether what a module imports is a part of the same work: of its package, or beside it where nothing is installed."""
    own, package = name.partition(".")[0], other.partition(".")[0]
    if "robuststack" in (own, package):
        return False
    folder = _folder(own)
    return own == package or (folder is not None and folder.name not in INSTALLED and folder == _folder(package))


@cache
def _folder(package: str) -> Path | None:
    """Where a top-level module or package lies."""
    origin = _origin(package)
    return origin and (origin.parent.parent if origin.name == "__init__.py" else origin.parent)


def has_source(module: str) -> bool:
    """Whether a module's source can be found, without importing it."""
    return _origin(module) is not None


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's source and the names it imports (imports inside functions too)."""
    origin = _origin(name)
    if origin is None:
        return "", ()
    text = origin.read_text(encoding="utf-8", errors="replace")
    parent = name if origin.name == "__init__.py" else name.rpartition(".")[0]
    imported: list[str] = []
    try:
        tree = ast.parse(text)
    except SyntaxError:  # A module that is only imported when it is needed; importing it will say so.
        tree = ast.Module([], [])
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            imported += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            written = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(written, parent) if node.level else written
            # `from package import module`: a name that is a module counts too.
            imported += [base, *(f"{base}.{one.name}" for one in node.names)]
    return hashlib.sha256(text.encode()).hexdigest(), tuple(imported)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node. Imports are statements: expressions, most of a tree, need not be looked at."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for one in getattr(node, block, ()):
            yield one
            yield from _statements(one)


@cache
def _origin(name: str) -> Path | None:
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is None:
        # A search by hand below the package's folder: find_spec would import the parents, and with them torch.
        package, *rest = name.split(".")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") and not rest else None
        folder = Path(next(iter(spec.submodule_search_locations)), *rest)
        for candidate in (folder / "__init__.py", folder.with_suffix(".py")):
            if candidate.is_file():
                return candidate
        return None
    return Path(origin) if origin.endswith(".py") else None
