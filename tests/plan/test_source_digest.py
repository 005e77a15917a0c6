"""Digests of source code: they change with everything that computes a job's result, and with nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import forked
import robuststack as rs
import robuststack_plugins
from robuststack.hardware import Hardware
from robuststack.plan import job_digest
from robuststack.plan import source_digest as source_digest_module
from robuststack.plan.meaning import Meaning
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite

ROBUSTSTACK = Path(rs.__file__).parent


def digest(folder: Path) -> str:
    """In a process that has read none of the files yet."""
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); sys.dont_write_bytecode = True\n"
        "from robuststack.plan.source_digest import source_digest; print(source_digest(['theirs.defense']))"
    )
    done = forked.run(script, folder, light=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("__init__", "defense", "helper", "deeper", "unused"):
        (folder / f"{name}.py").write_text(f"# {name}\n")
    return folder


def edit(path: Path) -> None:
    path.write_text(f"{path.read_text()}edited = 1\n")


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


SOURCE = '''
"""A module."""
import math  # why

RATE = 0.1
"""An attribute's docstring."""


class Layer:
    """A layer."""

    scale: float = 2.0  # of the input

    def forward(self, x, *, gain=1):
        """Run it."""
        if x > 0:
            return f"{x * gain:.2f}" + "a" "b"
        return (-1, 'text', None, b"bytes", 1.0)


class Empty(Layer):
    """It has a docstring alone."""
'''
SAME = [
    ('"""A module."""\n', ""),
    ('"""A module."""', "'''Another text,\nof two lines.'''"),
    ("  # why", ""),
    ('"""An attribute\'s docstring."""', "# A comment in place of it"),
    ('        """Run it."""\n', ""),
    ('    """It has a docstring alone."""', "    pass"),
    ("(-1, 'text', None", '(\n            -1,\n            "text", None'),
    ('b"bytes", 1.0)', "b'bytes', 1.0,\n        )"),
    ('"a" "b"', '"ab"'),
    ("x > 0", "(x > 0)"),
    ("import math", "\n\nimport math"),
]  # fmt: skip
OTHER = [
    ("RATE = 0.1", "RATE = 0.2"),
    ("2.0", "2"),
    ("gain=1", "gain=True"),
    ("gain=1", "gain='1'"),
    ("*, gain", "gain"),
    ("'text'", "'texts'"),
    ("x > 0", "x >= 0"),
    (":.2f", ":.3f"),
    ("-1", "1"),
    ("None", "False"),
    ('b"bytes"', '"bytes"'),
    ("import math", "import cmath"),
    ("scale: float", "scale: int"),
    ("Empty(Layer)", "Empty"),
    ("            return f", "            x = f"),
    ('"""Run it."""', '"""Run it.""".strip()'),
]


def meaning(text: str) -> str:
    return Meaning.of(text).hash


@pytest.mark.parametrize(("old", "new"), SAME)
def test_docstrings_comments_and_formatting_mean_nothing(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new, 1)) == meaning(SOURCE)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_everything_else_has_a_meaning(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new, 1)) != meaning(SOURCE)


def test_what_stands_where_is_a_part_of_the_meaning():
    """No two of them are one, as they would be if their parts were only put one after another."""
    texts = ["f(a)(b)", "f(a(b))", "f(a, b)", "f(a)\nb", "f\na(b)", "[f, a, b]", "[f, [a, b]]", "[[f, a], b]", "f[a](b)",
             "f.a(b)", "f(a=b)", "'f', a, b", "f if a else b", "if f: a\nb", "if f:\n    a\n    b", "if f: a\nelse: b",
             "def f(a): b", "def f(a, /): b", "def f(*a): b", "def f(*, a): b", "x: f = a", "x: f", "a[b:]", "a[:b]",
             "name", "'name'", "constant", "Name"]  # fmt: skip
    assert len({meaning(text) for text in texts}) == len(texts)


def engine_copy(folder: Path) -> Path:
    """A copy of the project's packages, which a process can be pointed at."""
    for package in (Path(rs.__file__).parent, Path(robuststack_plugins.__file__).parent):
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    return folder


def job_digests(folder: Path) -> dict[str, str]:
    """Kind -> digest of the jobs of a suite with a built-in defense and a user's model, planned from that folder."""
    code = (
        "from robuststack.suite.loading import load_suite; from robuststack.plan.planner import make_plan;"
        "from robuststack.plugin.registry import Registry; from robuststack.hardware import Hardware; import json;"
        "plan = make_plan(load_suite('suite.yaml'), Registry(), Hardware('cpu', 'float32'));"
        "print(json.dumps([[job.kind, job.label, job.id, job.digest] for job in plan.jobs]))"
    )
    (folder / "suite.yaml").write_text(
        "datasets: digits\narchitectures: resnet8\nattacks: fgsm\n"
        "defenses: [{name: float, points: {lambda_n: 1}}, {name: none, model: {python: 'mine:make'}}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
    )  # fmt: skip
    return {f"{kind} {label}": f"{identity} {digest}" for kind, label, identity, digest in json.loads(done.stdout)}


def test_an_edit_makes_stale_what_it_changes_and_a_docstring_makes_nothing_stale(tmp_path):
    folder = engine_copy(tmp_path)
    (folder / "mine.py").write_text('import torch\n\nSIZE = 3\n\n\ndef make():\n    """A model."""\n    return SIZE\n')
    before = job_digests(folder)
    edits = {
        "robuststack/attacks/ascent.py": "ascent",
        "robuststack_plugins/defenses/float.py": "float",
        "mine.py": "mine",
        "robuststack/engine/build.py": "all",
        "robuststack/engine/fitted.py": "all",
        "robuststack/image_selection.py": "all",
        "robuststack/engine/user_function.py": "mine",
        "robuststack/suite/phases.py": "float",
    }
    presentation = [folder / "robuststack" / "plugin" / name for name in ("registry.py", "hookspecs.py")]
    for path in [*(folder / name for name in edits), *presentation]:
        path.write_text(re.sub(r'"""(?=\w)', '"""Other words: ', path.read_text()) + "\n# A comment\n\n")
    for path in presentation:
        path.write_text(f"{path.read_text()}\nADDED = 1\n")
    assert job_digests(folder) == before, "words and comments, and code that only presents"
    for name, what in edits.items():
        path = folder / name
        text = path.read_text()
        path.write_text(f"{text}\nADDED = 1\n")
        changed = {label for label, digest in job_digests(folder).items() if digest != before[label]}
        path.write_text(text)
        if what == "all":
            assert changed == before.keys()
        elif what == "mine":
            assert changed
            assert all("float" not in label for label in changed)
        elif what == "float":
            assert changed
            assert all("none" not in label for label in changed)
        else:
            assert any("float" in label for label in changed)
            assert any("none" in label for label in changed)


def test_a_relative_import_above_the_top_that_the_module_expects_to_fail_counts_for_nothing(tmp_path):
    for name in ("alone", "helper"):
        (tmp_path / f"{name}.py").write_text("")
    both = "try:\n    from .helper import x\nexcept ImportError:\n    from helper import x\n"
    (tmp_path / "alone.py").write_text(both)
    meaning = Meaning.of(both)
    assert list(meaning.imported("")) == ["helper", "helper.x"]
    assert list(meaning.imported("package")) == ["package.helper", "package.helper.x", "helper", "helper.x"]


IN_NO_DIGEST = {
    "robuststack.engine.held_modules": "finds modules; what it finds is called",
    "robuststack.engine.memory": "what is done where memory runs out",
    "robuststack.engine.failing_model": "words of refusals",
    "robuststack.engine.unlisted_parameters": "refuses; scores nothing",
    "robuststack.engine.witness": "finds that a model changed, by what it answers",
    "robuststack.engine.probes": "its modules are those of probe jobs",
}


def test_every_module_of_the_engine_that_jobs_reach_is_in_a_digest_or_known_to_decide_nothing():
    covered = {*job_digest.ALONE, *job_digest.PLANNED, *job_digest.BROUGHT}
    pending = [f"robuststack.engine.{module}" for module in job_digest.MODULES.values()]
    pending += [
        f"robuststack.engine.probes.{path.stem}" for path in (ROBUSTSTACK / "engine" / "probes").glob("[a-z]*.py")
    ]
    while pending:
        name = pending.pop()
        if name not in covered:
            covered.add(name)
            pending += [other for other in imports(name) if source_digest_module._decides(other)]
    reached, pending = set(), ["robuststack.engine.jobs"]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += imports(name)
    decides = {name for name in reached if source_digest_module._decides(name)}
    assert decides - covered == IN_NO_DIGEST.keys()


def imports(name: str) -> list[str]:
    """The modules of RobustStack that a module imports."""
    path = ROBUSTSTACK.parent.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = [other for other in Meaning.of(path.read_bytes()).imported(parent) if other.startswith("robuststack.")]
    places = [ROBUSTSTACK.parent.joinpath(*other.split(".")) for other in found]
    return [
        other
        for other, place in zip(found, places, strict=True)
        if place.is_dir() or place.with_suffix(".py").is_file()
    ]


def test_what_a_plugin_uses_of_the_public_names_counts(tmp_path, package):
    for text in ("import robuststack as rs\nrs.GradientAttack\n", "from robuststack import GradientAttack as Base\n"):
        assert "robuststack.plugin.attack" in Meaning.of(text).imported("theirs")


def test_a_module_that_does_not_parse_counts_by_its_text(tmp_path, package):
    seen = set()
    for text in (b"def f(:\n", b"def f(:  # other\n", b"x = 1\0\n", "x = 'é'\n".encode("latin-1")):
        (package / "defense.py").write_bytes(text)
        seen.add(digest(tmp_path))
    assert len(seen) == 4
