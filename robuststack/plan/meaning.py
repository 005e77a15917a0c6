"""The meaning of a module's source code: what it computes, and what it imports. Comments, docstrings and formatting mean
nothing here; everything else does."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import robuststack

Names = tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What a module's source means, and the imports in it, those inside functions too."""

    hash: str
    modules: Names
    """As `import` names them."""
    members: tuple[tuple[str, Names], ...]
    """What is imported from where: (`package`, `..package`, `.`, the names)."""
    public: Names
    """Attributes of `robuststack` itself that are used."""

    @classmethod
    def of(cls, text: bytes | str) -> Self:
        """The meaning of a source text.

        Raises:
            SyntaxError, ValueError, RecursionError: it is no Python that this version reads.
        """
        tree = _Tree(ast.parse(text))
        return cls(tree.hash(), tuple(tree.modules), tuple(tree.members), tuple(tree.public()))

    def imported(self, parent: str) -> Iterator[str]:
        """The modules that it imports; `parent` is the package that relative imports start from."""
        yield from self.modules
        yield from _homes(self.public)
        for written, names in self.members:
            try:
                base = importlib.util.resolve_name(written, parent) if written.startswith(".") else written
            except ImportError:  # Above the top: Python refuses it where it is reached, and the module may expect that.
                continue
            yield base
            yield from (f"{base}.{name}" for name in names)  # A name may be a module too.
            if base == "robuststack":
                yield from _homes(names)


def _homes(names: Names) -> Iterator[str]:
    """The modules that public names, `robuststack.name`, are of."""
    return (robuststack._HOME[name] for name in names if name in robuststack._HOME)


class _Tree:
    """A module's syntax tree as text, without docstrings, comments and formatting; the same in every version of Python."""

    def __init__(self, tree: ast.Module) -> None:
        self._parts: list[str] = []
        self._attributes: set[tuple[str, str]] = set()
        self._own: set[str] = set()
        """What `robuststack` is called in the module."""
        self.modules: list[str] = []
        self.members: list[tuple[str, Names]] = []
        self._add(tree)

    def hash(self) -> str:
        return hashlib.sha256("\0".join(self._parts).encode("utf-8", "surrogatepass")).hexdigest()

    def public(self) -> list[str]:
        """The attributes of `robuststack` that are used, under whatever name it was imported."""
        return sorted({attribute for owner, attribute in self._attributes if owner in self._own})

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
        elif kind is ast.Import:
            self.modules += [alias.name for alias in node.names]
            self._own |= {alias.asname or alias.name for alias in node.names if alias.name == "robuststack"}
        elif kind is ast.ImportFrom:
            origin = "." * node.level + (node.module or "")
            self.members.append((origin, tuple(alias.name for alias in node.names)))
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
