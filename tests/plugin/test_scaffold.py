"""`robuststack new`: whole packages from real files, and names that cannot be."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from robuststack.cli import call
from robuststack.errors import PluginError
from robuststack.plugin.registry import KINDS, Registry
from robuststack.plugin.scaffold import Package, named, write

REGISTRY = Registry()


@pytest.mark.parametrize(
    "name", ["soft_labels", "soft-labels", "Soft-Labels", "SoftLabels", "robuststack-soft-labels", "soft_Labels"]
)
def test_a_name_is_brought_into_its_three_forms(name):
    package = named("defense", name, REGISTRY)
    assert package == Package("defense", "soft_labels")
    assert (package.distribution, package.module) == ("robuststack-soft-labels", "robuststack_soft_labels")
    assert package.class_name == "SoftLabels"


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_whole_and_short(kind, tmp_path):
    package = named(kind, "soft-labels", REGISTRY)
    written = {path.relative_to(tmp_path / package.distribution).as_posix() for path in write(package, tmp_path)}
    assert written == {
        "README.md", "pyproject.toml", "robuststack_soft_labels.py", "suite.yaml", "tests/test_soft_labels.py",
    }  # fmt: skip
    root = tmp_path / "robuststack-soft-labels"
    texts = {name: (root / name).read_text() for name in written}
    assert not [name for name, text in texts.items() if re.search("the.name|TheName|the_kind", text)]
    project = tomllib.loads(texts["pyproject.toml"])
    assert project["project"]["name"] == "robuststack-soft-labels"
    assert project["project"]["entry-points"]["robuststack"] == {"soft_labels": "robuststack_soft_labels"}
    code = texts["robuststack_soft_labels.py"]
    assert len(code.splitlines()) < 60, "a plugin is under 60 lines"
    for text in (code, texts["tests/test_soft_labels.py"]):
        ast.parse(text)
    assert f'register("soft_labels", "robuststack_soft_labels:{package.class_name}")' in code


@pytest.mark.parametrize("name", ["2fast", "soft labels", "class", "a__b", "", "über", "-", "x/y", "../x", "soft_"])
def test_a_name_that_is_no_identifier_is_refused(name):
    message = f"{name!r} cannot name a plugin: it must become a Python identifier; use letters"
    with pytest.raises(PluginError, match=re.escape(message)):
        named("defense", name, REGISTRY)


def refused(capsys, *arguments) -> str:
    """What a command says that ends in one line and exit code 2."""
    assert call(["new", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["defense", "OAT"],
            "defense 'oat' is registered already by plugin 'defenses' of robuststack 0.1.0; choose ano",
        ),
        (["optimiser", "x"], "'optimiser' is not one of 'defense', 'architecture', 'dataset', 'attack'"),
        (["defense", "my defense"], "'my defense' cannot name a plugin: it must become a Python identifier"),
        (["defense", "plugins"], "a package 'robuststack-plugins' is installed already; choose another name"),
    ],
)
def test_what_cannot_be_new_is_one_line_that_says_what_to_do(capsys, tmp_path, arguments, message):
    assert message in refused(capsys, *arguments, "-o", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_another_kind_is_free():
    assert named("dataset", "oat", REGISTRY).name == "oat"


def test_a_folder_that_exists_is_not_touched(capsys, tmp_path):
    mine = tmp_path / "robuststack-mine"
    mine.mkdir()
    message = f"{mine} exists; choose another name, or another folder with -o DIR"
    assert message in refused(capsys, "attack", "mine", "-o", tmp_path)
    assert list(mine.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made: " in refused(capsys, "attack", "mine", "-o", tmp_path / "file")


def test_it_says_what_to_do_next(capsys, tmp_path):
    assert call(["new", "dataset", "Mine", "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder: Path = tmp_path / "robuststack-mine"
    assert f"wrote {folder / 'robuststack_mine.py'}" in lines
    assert [line.strip() for line in lines[-3:]] == [
        f'python -m pip install -e "{folder}[test]"', f"pytest {folder}", f"robuststack run {folder / 'suite.yaml'}",
    ]  # fmt: skip
