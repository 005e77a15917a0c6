"""The built-ins use what other authors can use: public names of robuststack, and none of the engine's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import robuststack_plugins

FOLDER = Path(robuststack_plugins.__file__).parent
ATTACKS = ("attacks", "autoattack", "torchattacks")
PUBLIC = ("robuststack", "robuststack.attacks", "robuststack.did_you_mean", "robuststack.errors")
"""What attacks import whole; modules below `robuststack.plugin` and `robuststack.layers` are public too."""
PUBLIC_ROOMS = ("robuststack.plugin.", "robuststack.layers.", "robuststack_plugins.")


def imported(source: str) -> set[str]:
    """The modules of robuststack that a source file imports at its top or inside of a function, names of rooms included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            modules |= {f"robuststack.{alias.name}" for alias in node.names} if module == "robuststack" else {module}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isprintable():
            modules |= {node.value}  # importlib.import_module("robuststack.engine.data")
    return {module for module in modules if module.startswith("robuststack") and " " not in module}


def of_the_engine(source: str) -> set[str]:
    return {module for module in imported(source) if f"{module}.".startswith("robuststack.engine.")}


def not_public(source: str) -> set[str]:
    """What an attack imports beside public names."""
    names = {module for module in imported(source) if module.startswith("robuststack.") and ":" not in module}
    return {
        module
        for module in names
        if not module.startswith(PUBLIC_ROOMS)
        and module not in PUBLIC
        and module.removeprefix("robuststack.") != "hookimpl"
    }


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_built_in_imports_the_engine(path):
    assert not of_the_engine(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path",
    [path for room in ATTACKS for path in sorted((FOLDER / room).glob("*.py"))],
    ids=lambda path: str(path.relative_to(FOLDER)),
)
def test_attacks_import_public_names_only(path):
    assert not not_public(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "import robuststack.engine",
        "from robuststack import engine",
        "from robuststack.engine.data import Data",
        "def f():\n    from robuststack.engine.runtime import Runtime",
        "importlib.import_module('robuststack.engine.train')",
    ],
)
def test_an_import_of_the_engine_would_be_seen(line):
    assert of_the_engine(line)
    assert not of_the_engine("from robuststack.attacks import worst")


def test_a_private_module_of_the_toolkit_would_be_seen():
    assert not_public("from robuststack.attacks.restarts import worst") == {"robuststack.attacks.restarts"}
    assert not not_public("from robuststack.attacks import worst\nfrom robuststack import hookimpl")
