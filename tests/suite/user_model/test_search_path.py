"""Where a user's module is looked for, and what it leaves behind."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import robuststack as rs
from robuststack.errors import SuiteError
from robuststack.plan.planner import make_plan
from robuststack.suite.loading import load_suite
from user_models import CPU, NETWORK, NUMBERS, module, weights


def test_a_package_of_the_working_directory_wins_over_an_installed_one(run, here, tmp_path, monkeypatch):
    """As `tests.models:make`, where a library installs a package of the name `tests`."""
    for regular in (True, False):
        package = f"shared_{next(NUMBERS)}"
        installed = tmp_path / f"site-{package}" / package
        installed.mkdir(parents=True)
        (installed / "__init__.py").write_text("WHOSE = 'theirs'\n")
        (installed / "nets.py").write_text("raise RuntimeError('of another package')\n")
        monkeypatch.setattr(sys, "path", [str(installed.parent), *sys.path])
        theirs = importlib.import_module(package)
        (here / package).mkdir()
        if regular:
            (here / package / "__init__.py").write_text("")
        (here / package / "parts.py").write_text("WIDTH = 4\n")
        (here / package / "nets.py").write_text(f"from {package}.parts import WIDTH\n{NETWORK}")
        assert len(run(f"python: '{package}.nets:make'").rows) == 1
        assert sys.modules[package] is theirs, "what was imported before is still there"
        assert importlib.import_module(package).WHOSE == "theirs"


def test_a_run_leaves_the_search_path_as_it_was(run, here):
    helper = module("GAIN = 1.0\n")
    name = module(
        f"import sys\nsys.path.insert(0, '/nowhere')\n{NETWORK.replace('def make', f'import {helper}{chr(10)}def make')}"
    )
    before = list(sys.path)
    assert len(run(f"python: '{name}:make'").rows) == 1
    assert sys.path == ["/nowhere", *before], "only what the module itself did"


MOVING = f"""
import os
{NETWORK.replace("make", "plain")}
class Moving(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()
    def forward(self, x):
        os.chdir({{folder!r}})
        return self.net(x)
make = Moving
"""


@pytest.mark.parametrize(
    ("source", "kept"),
    [("import os\nos.chdir({folder!r})\n" + NETWORK, True), (MOVING, False)],
    ids=["import", "forward"],
)
def test_a_module_that_changes_the_working_directory_moves_nothing(suite, here, registry, source, kept):
    """What it does where it is imported is put back; what its network does when it is called is not, and moves no file."""
    (here / "elsewhere").mkdir()
    name = module(source.format(folder=str(here / "elsewhere")))
    result = rs.run(
        suite(f"python: '{name}:make'"), store="store", leaderboard="board", device="cpu", registry=registry
    )
    assert Path.cwd() == (here if kept else here / "elsewhere")
    assert len(result.rows) == 1
    assert {path.name for path in here.iterdir()} >= {"store", "board"}
    assert list((here / "elsewhere").iterdir()) == []
    assert all(path.is_relative_to(here / "board") for path in result.files)


def test_a_path_may_begin_with_the_home_folder(run, here, suite, registry, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    weights(here / "home" / "w.safetensors")
    result = rs.run(
        suite("load: ~/w.safetensors"), store="~/store", leaderboard="~/board", device="cpu", registry=registry
    )
    assert result.rows[0].user_model.places == {"load": "~/w.safetensors"}, "a board names no folder of its maker's"
    assert {path.name for path in (here / "home").iterdir()} == {"w.safetensors", "store", "board"}
    assert not (here / "~").exists()


def test_a_home_folder_that_is_not_there_is_named_with_its_place(suite, registry):
    with pytest.raises(SuiteError) as caught:
        make_plan(load_suite(suite("load: ~nobody-of-this-name/w.pt")), registry, CPU)
    place, _, reason = str(caught.value).partition(": ")
    assert place.partition("mine.yaml:")[2].partition(":")[0].isdecimal()
    assert reason == (
        "~nobody-of-this-name/w.pt: there is no home folder that `~` could stand for; write the whole path"
    )
