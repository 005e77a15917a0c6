"""The toolkit's public names, and that they cost no import of torch before they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from robuststack import attacks

FOLDER = Path(attacks.__file__).parent
ROOT = FOLDER.parent.parent
LIGHT = "import sys, robuststack; from robuststack import attacks; dir(attacks); {more}sys.exit('torch' in sys.modules)"


def test_every_public_name_is_there_and_says_what_it_is():
    for name in attacks.__all__:
        value = getattr(attacks, name)
        assert not isinstance(value, type(attacks)), f"{name} is a module"
        assert name in ("Average", "Loss", "Run", "Start") or value.__doc__, f"{name} has no docstring"
    assert dir(attacks) == attacks.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        attacks.nothing  # noqa: B018


@pytest.mark.parametrize(("more", "code"), [("", 0), ("attacks.worst; ", 1)])
def test_torch_is_imported_when_a_name_is_used(more, code):
    assert subprocess.run([sys.executable, "-c", LIGHT.format(more=more)], cwd=ROOT, check=False).returncode == code


def asks_what_the_model_is(source: str) -> list[int]:
    """The lines that ask a model for its class, or for an attribute that it may not have."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "getattr", "hasattr")
        and ast.unparse(node.args[0]) in ("model", "view", "self.model", "self.view", "attacked")
    ]


def test_no_attack_asks_what_the_model_is():
    plugins = ROOT / "plugins" / "robuststack_plugins"
    for folder in (FOLDER, *(plugins / room for room in ("attacks", "autoattack", "torchattacks"))):
        for path in folder.glob("*.py"):
            assert not asks_what_the_model_is(path.read_text(encoding="utf-8")), path
    assert asks_what_the_model_is("x = 1\ny = getattr(model, 'stochastic', False)") == [2]


def test_the_toolkit_does_not_import_the_engine():
    for path in FOLDER.glob("*.py"):
        assert "robuststack.engine" not in path.read_text(encoding="utf-8"), path
