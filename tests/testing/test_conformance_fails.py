"""Each check of the kit is able to fail: a component broken in one way for each of them."""

from __future__ import annotations

import re
import sys

import pytest

import robuststack as rs
from broken_architectures import ARCHITECTURE
from broken_attacks import ATTACK
from broken_datasets import DATASET
from broken_defenses import DEFENSE
from broken_options import ANY
from robuststack.plugin.registry import KINDS
from robuststack.testing import (
    ArchitectureConformance,
    AttackConformance,
    DatasetConformance,
    DefenseConformance,
    collecting,
)
from sound_components import KITS, NEEDS_A_PROCESS, checks, suite


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)
def test_a_component_that_keeps_its_contract_passes(kit):
    instance = suite(kit, KITS[kit])
    for name in checks(kit):
        if name != NEEDS_A_PROCESS:
            getattr(instance, name)()


BROKEN = {
    ArchitectureConformance: ARCHITECTURE + ANY,
    DatasetConformance: DATASET + ANY,
    AttackConformance: ATTACK + ANY,
    DefenseConformance: DEFENSE + ANY,
}
CASES = [(kit, *case) for kit, cases in BROKEN.items() for case in cases]
IDS = [f"{kit.kind}-{check}-{message[:20]}" for kit, check, _, message in CASES]


@pytest.mark.parametrize(("kit", "check", "members", "message"), CASES, ids=IDS)
def test_a_check_fails_on_what_it_is_there_for(kit, check, members, message):
    broken = type("Broken", (KITS[kit],), {"__doc__": "A component.", "__module__": "broken_component", **members})
    with pytest.raises((AssertionError, rs.PluginError), match=message):
        getattr(suite(kit, broken), f"test_{check}")()


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)
def test_every_check_has_something_broken_for_it(kit):
    assert {f"test_{check}" for check, *_ in BROKEN[kit]} | {NEEDS_A_PROCESS} == set(checks(kit))


def test_every_kind_has_its_kit():
    assert {kit.kind for kit in collecting.KITS} == set(KINDS)


@pytest.mark.parametrize(("heavy", "blamed"), [("component", "heavy_one"), ("plugin", "plugin heavy_plugin")])
def test_torch_at_the_top_of_a_module_is_found_and_the_innocent_are_not_blamed(tmp_path, monkeypatch, heavy, blamed):
    info = tmp_path / "heavy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[robuststack]\nheavy_plugin = heavy_{heavy}_plugin\n")
    source = "import robuststack as rs\n@rs.hookimpl\ndef register_attack(register):\n"
    for name in ("heavy_one", "light_one"):
        source += f"    register('{name}', '{name}_of_{heavy}:One')\n"
        text = 'import robuststack as rs\nclass One(rs.Attack):\n    """One."""\n'
        top = "import torch.nn\n" if (name, heavy) == ("heavy_one", "component") else ""
        (tmp_path / f"{name}_of_{heavy}.py").write_text(top + text)
    (tmp_path / f"heavy_{heavy}_plugin.py").write_text(("import torch\n" if heavy == "plugin" else "") + source)
    monkeypatch.syspath_prepend(tmp_path)
    check = {
        name: getattr(type("Kit", (AttackConformance,), {"component": name})(), NEEDS_A_PROCESS)
        for name in ("heavy_one", "light_one")
    }
    with pytest.raises(AssertionError, match=f"{blamed}.* imports torch: import it inside the methods that use it"):
        check["heavy_one"]()
    if heavy == "component":
        check["light_one"]()


def test_the_kit_without_pytest_says_what_to_install(monkeypatch):
    for name in [module for module in sys.modules if module.startswith("robuststack.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytest", None)
    message = "robuststack.testing needs pytest: python -m pip install pytest"
    with pytest.raises(rs.RobustStackError, match=re.escape(message)):
        import robuststack.testing  # noqa: F401
