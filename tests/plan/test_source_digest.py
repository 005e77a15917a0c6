"""Digests of source code: they change with everything that computes a job's result, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import robuststack as rs
from robuststack.hardware import Hardware
from robuststack.plan import source_digest as source_digest_module
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite


def digest(folder: Path) -> str:
    code = "from robuststack.plan.source_digest import source_digest; print(source_digest(['theirs.defense']))"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("__init__", "defense", "helper", "deeper", "unused"):
        (folder / f"{name}.py").write_text(f"# {name}\n")
    return folder


def edit(path: Path) -> None:
    path.write_text(f"{path.read_text()}# edited\n")


IMPORTS = [
    "from theirs.helper import f",
    "from theirs import helper",
    "from theirs import (\n    helper,\n)",
    "from theirs import other, helper as known",
    "import theirs.helper",
    "import theirs.helper as known",
    "from .helper import f",
    "from . import helper",
    "from . import (  # why\n    helper,\n)",
    "def f():\n    from theirs.helper import f",
    "if True: from theirs.helper import f",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_a_digest_changes_with_the_module_and_with_every_module_it_imports(tmp_path, package, line):
    (package / "defense.py").write_text(f"import torch\n{line}\n")
    (package / "helper.py").write_text("from .deeper import g\n")
    seen = [digest(tmp_path)]
    edit(package / "unused.py")
    assert digest(tmp_path) == seen[0], "what is not imported does not matter"
    for name in ("defense", "helper", "deeper"):
        edit(package / f"{name}.py")
        seen.append(digest(tmp_path))
    assert len(set(seen)) == len(seen)


def test_an_inherited_method_counts_in_the_digest(tmp_path, monkeypatch):
    """A component's base class in another package is a part of what computes its results."""
    # In another folder: what lies beside a module belongs to it anyway.
    for package in ("elsewhere/basepackage", "derivedpackage"):
        (tmp_path / package).mkdir(parents=True)
    base = tmp_path / "elsewhere" / "basepackage" / "__init__.py"
    base.write_text("import robuststack as rs\nclass Base(rs.Defense):\n    value = 1\n")
    (tmp_path / "derivedpackage" / "__init__.py").write_text(
        "from basepackage import Base\nclass Derived(Base):\n    '''A defense.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")

    class Plugin:
        @rs.hookimpl
        def register_defense(self, register):
            register("derived", "derivedpackage:Derived")

    path = tmp_path / "suite.yaml"
    path.write_text("datasets: digits\narchitectures: resnet8\ndefenses: derived\nattacks: fgsm")

    def digest() -> str:
        source_digest_module._read.cache_clear()
        source_digest_module._source_digest.cache_clear()
        registry = Registry([*installed_sources(), PluginSource("derived", "derived", "1", Plugin)])
        plan = make_plan(load_suite(path), registry, Hardware("cpu", "float32"))
        return next(job.digest for job in plan.jobs if job.kind == "train")

    before = digest()
    base.write_text(base.read_text().replace("1", "2"))
    assert digest() != before
