"""No module of the host or of the built-ins imports, directly or by others, itself while it is being imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT / "robuststack", ROOT / "plugins" / "robuststack_plugins")


def modules() -> dict[str, Path]:
    """Every module by its name."""
    paths = {}
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            if "templates" not in path.parts:
                parts = path.relative_to(package.parent).with_suffix("").parts
                paths[".".join(parts).removesuffix(".__init__")] = path
    return paths


def imports_at_once(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it is imported: nothing inside of functions, nor for type checkers alone."""
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle in the graph, as the path that closes it; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            closed = walk(other, [*path, name])
            if closed:
                return closed
        done.add(name)
        return []

    return next((closed for name in sorted(graph) if (closed := walk(name, []))), [])


def test_no_module_imports_itself_by_others() -> None:
    known = modules()
    graph = {
        name: {other for other in imports_at_once(ast.parse(path.read_text(encoding="utf-8"))) if other in known}
        for name, path in known.items()
    }
    assert len(graph) > 200
    assert circle(graph) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
