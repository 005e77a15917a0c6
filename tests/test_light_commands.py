"""Commands that must answer at once import no heavy package; and this check is able to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import forked
from robuststack.plugin.registry import Registry

HEAVY = (
    "torch", "torchvision", "timm", "numpy", "sklearn", "scipy", "matplotlib", "pyautoattack", "robustbench",
    "torchattacks",
)  # fmt: skip
SCRIPT = """
import json, sys
sys.path[:0] = {path}
from robuststack.cli import call
code = call({arguments})
print(json.dumps([code, [name for name in {heavy} if name in sys.modules]]), file=sys.stderr)
"""
COMPONENTS = [("defense", "oat"), ("defense", "float"), ("architecture", "resnet34"), ("architecture", "wrn-16-4"),
              ("architecture", "torchvision:resnet18"), ("architecture", "timm:resnet26d"),
              ("dataset", "digits"), ("dataset", "cifar10"), ("attack", "pgd"), ("attack", "autoattack_rand"),
              ("attack", "torchattacks:PGD"), ("defense", "robustbench:Engstrom2019Robustness")]  # fmt: skip
BOARD = str(Path(__file__).parents[1] / "leaderboard" / "float_vs_oat.json")
JOB = json.loads(Path(BOARD).read_text(encoding="utf-8"))["rows"][0]["jobs"]["train"]["0"]
COMMANDS = [
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "defense", "--json"],
    *(["show", *component] for component in COMPONENTS),
    ["check", "--quick", "SUITE"],
    ["plan", "SUITE"],
    ["plan", "SUITE", "--json"],
    ["run", "SUITE", "--dry-run"],
    ["run", "--help"],
    ["evaluate", "--help"],
    ["audit", "--help"],
    ["bundle", "--help"],
    ["completion", "bash"],
    ["verify", "--help"],
    ["submit", "--help"],
    ["schema", "--audit"],
    ["export", "--help"],
    ["rejudge", "--help"],
    ["schema"],
    ["new", "defense", "mine"],
    ["regress", "--help"],
]
OF_BOARDS = [
    ["card", JOB, "-o", "card.md", "--leaderboard", str(Path(BOARD).parent)],
    ["cite", BOARD],
    ["cite", "SUITE"],
    ["leaderboard", "show", BOARD, "--sort", "RA"],
]
"""Commands that can read leaderboards, whose fronts NumPy measures."""


def imported(arguments: list[str], folder: Path, *path: Path) -> list[str]:
    """The heavy packages that a command imports, in a process of its own."""
    script = SCRIPT.format(path=[str(entry) for entry in path], arguments=arguments, heavy=HEAVY)
    done = forked.run(script, folder, light=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return modules


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_light_command_imports_no_heavy_package(arguments, small_suite):
    assert imported(of_suite(arguments, small_suite), small_suite.parent) == []


@pytest.mark.parametrize("arguments", OF_BOARDS, ids=" ".join)
def test_a_command_of_boards_imports_no_heavy_package_but_numpy(arguments, small_suite):
    assert imported(of_suite(arguments, small_suite), small_suite.parent) == ["numpy"]


def of_suite(arguments: list[str], suite: Path) -> list[str]:
    return [str(suite) if argument == "SUITE" else argument for argument in arguments]


def test_a_plan_in_minutes_imports_torch_only_to_measure(small_suite):
    """What it measures stays in the folder of the session: nothing else has a network of this width."""
    small_suite.write_text(small_suite.read_text().replace("width: 8", "width: 6"))
    plan = ["plan", str(small_suite), "--only", "none", "--device", "cpu", "--minutes"]
    assert "torch" in imported(plan, small_suite.parent)
    assert imported(plan, small_suite.parent) == [], "what was measured is kept"


def test_building_the_page_imports_only_the_statistics_of_its_pairs(tmp_path):
    build = ["leaderboard", "build", "--leaderboard", str(Path(BOARD).parent), "-o", "page"]
    assert imported(build, tmp_path) == ["numpy", "scipy"]


def test_planning_the_integrations_imports_none_of_them(small_suite):
    text = small_suite.read_text().replace("attacks: [", "attacks: [autoattack_rand, square, 'torchattacks:PGD', ")
    small_suite.write_text(text.replace("  - none\n", "  - none\n  - robustbench:Wong2020Fast\n"))
    assert imported(["plan", str(small_suite)], small_suite.parent) == []


def test_no_registered_module_imports_a_heavy_package(tmp_path):
    kinds = {(registration.kind, registration.name) for registration in Registry() if not registration.pattern}
    assert {component for component in COMPONENTS if component[1] != "wrn-16-4" and ":" not in component[1]} <= kinds
    assert imported(["list"], tmp_path) == [], "`list` loads every one of them for its summary"


PROCESSES = ("multiprocessing", "concurrent.futures", "robuststack.running.executors.workers")
PLANNING = ("yaml", "robuststack.suite", "robuststack.plan", "robuststack.running.store")


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [(["--help"], PROCESSES + PLANNING), (["list"], PROCESSES + PLANNING), (["plan", "SUITE"], PROCESSES)],
    ids=str,
)
def test_a_command_imports_only_what_it_needs(arguments, unneeded, small_suite):
    """In an interpreter of its own: the server of the other tests has imported what plans."""
    script = SCRIPT.format(path=[], arguments=of_suite(arguments, small_suite), heavy=unneeded)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]


def test_a_command_collects_garbage_as_soon_as_it_is_imported():
    script = (
        "import atexit, gc\nfrom robuststack import cli\n"
        "atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 0))\ncli.main(['list', 'attack'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"


@pytest.fixture
def heavy_plugin(tmp_path):
    """A folder with an installed distribution whose attack imports torch at the top of its module."""
    folder = tmp_path / "site"
    info = folder / "heavy_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robuststack]\nheavy = heavy_plugin\n")
    (folder / "heavy_plugin.py").write_text(
        "import robuststack as rs\n@rs.hookimpl\ndef register_attack(register):\n"
        "    register('heavy', 'heavy_component:Heavy')\n"
    )
    (folder / "heavy_component.py").write_text(
        'import torch\nimport robuststack as rs\nclass Heavy(rs.Attack):\n    """Heavy."""\n'
    )
    return folder


def test_the_check_finds_a_component_that_imports_torch_at_the_top(heavy_plugin, tmp_path):
    assert "torch" in imported(["show", "attack", "heavy"], tmp_path, heavy_plugin)
    assert imported(["--help"], tmp_path, heavy_plugin) == [], "only a command that uses it imports it"


def test_a_whole_check_imports_torch_to_build_the_models_and_not_again(small_suite):
    """What it builds is kept in the folder of the session: nothing else has a network of this width."""
    small_suite.write_text(small_suite.read_text().replace("width: 8", "width: 7"))
    check = ["check", str(small_suite), "--only", "none"]
    assert "torch" in imported(check, small_suite.parent)
    assert imported(check, small_suite.parent) == []
