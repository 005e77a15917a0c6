"""What could be built is kept between processes, for as long as nothing changes that decides it."""

from __future__ import annotations

import hashlib
import sys

import pytest

from robuststack.cli import call
from robuststack.engine import buildable
from robuststack.plan.kept_builds import KeptBuilds
from robuststack.plan.pair import pairs_of
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack.suite.resolve import Resolver

SUITE = "datasets: digits\narchitectures: {name: resnet8, options: {width: 4}}\ndefenses: [none, pni]\nattacks: fgsm\n"
SOURCE = """\
import robuststack as rs

class Brought(rs.Defense):
    '''A defense of the user's.'''
    points = ({},)

    def build(self, architecture, shape, num_classes):
        return architecture.build(shape, num_classes)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a suite, and a cache folder of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def built(monkeypatch):
    """The defenses that were built."""
    defenses: list[str] = []
    build = buildable._Tried.build

    def noted(tried):
        defenses.append(tried.pair.defense.name)
        build(tried)

    monkeypatch.setattr(buildable._Tried, "build", noted)
    return defenses


def check(*overrides: str) -> int:
    return call(["check", "suite.yaml", *(word for override in overrides for word in ("--set", override))])


def pairs(*overrides: str):
    resolver = Resolver(load_suite("suite.yaml", list(overrides)), Registry())
    return pairs_of(resolver.cells(resolver.attacks()))


def test_what_was_built_is_not_built_again_whatever_else_of_the_suite_changes(built, capsys):
    assert check() == 0
    assert built == ["none", "pni"]
    built.clear()
    said = capsys.readouterr().out
    for overrides in ((), ("attacks=pgd",), ("defenses=pni",), ("train.epochs=30",)):
        assert check(*overrides) == 0
        assert built == []
    assert capsys.readouterr().out.startswith(said)
    assert check("architectures.options.width=5", "defenses=pni") == 0
    assert built == ["pni"], "another network"
    built.clear()
    assert check("defenses=[none, pni, pgd_at]") == 0
    assert built == ["pgd_at"], "what is new, alone"
    built.clear()
    assert (
        check("architectures=[{name: resnet8, options: {width: 4}}, 'torchvision:squeezenet1_1']", "defenses=none") == 2
    )
    assert built == ["none"]
    assert "; works here: this defense on architecture resnet8" in capsys.readouterr().err


def test_what_cannot_be_built_is_said_every_time(built, capsys):
    for _ in range(2):
        assert check("architectures='torchvision:squeezenet1_1'") == 2
        assert "defense 'none' on architecture 'torchvision:squeezenet1_1'" in capsys.readouterr().err
    assert len(built) == 4


def test_what_this_machine_had_no_memory_to_build_is_tried_again(monkeypatch):
    def too_heavy(pair, model):
        raise MemoryError

    monkeypatch.setattr(buildable, "_call", too_heavy)
    assert check() == 0
    assert not any(pair in KeptBuilds() for pair in pairs())


def test_changed_code_is_built_again(here, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    (here / "changing_defense.py").write_text(SOURCE)
    registry = Registry()
    import changing_defense

    registry.add("brought", changing_defense.Brought)

    def pair():
        resolver = Resolver(load_suite("suite.yaml", ["defenses=brought"]), registry)
        (only,) = pairs_of(resolver.cells(resolver.attacks()))
        return only

    KeptBuilds().keep([pair()])
    assert pair() in KeptBuilds()
    _forget_sources()
    (here / "changing_defense.py").write_text(SOURCE.replace("shape, num_classes)\n", "shape, num_classes + 1)\n"))
    assert pair() not in KeptBuilds()
    _forget_sources()
    (here / "changing_defense.py").write_text(f"# A comment.\n{SOURCE}")
    assert pair() in KeptBuilds()


def _forget_sources() -> None:
    """As another process."""
    from robuststack.plan import source_digest

    for name in ("_source_digest", "_read", "_origin", "_home"):
        getattr(source_digest, name).cache_clear()


def test_another_version_of_a_library_is_built_again(here, monkeypatch):
    site = here / "site"
    (site / "networks-1.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site), str(here / "absent")])
    KeptBuilds().keep(pairs())
    assert all(pair in KeptBuilds() for pair in pairs())
    (site / "networks-1.0.dist-info").rename(site / "networks-1.1.dist-info")
    assert not any(pair in KeptBuilds() for pair in pairs())


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\x00", b'{"maker": 1}', hashlib.sha256(b"[]").hexdigest().encode() + b"\n[]"]
)
def test_a_damaged_file_is_as_none(damage, here, built):
    assert check() == 0
    (path,) = (here / "cache/robuststack/builds").iterdir()
    path.write_bytes(damage)
    built.clear()
    assert check() == 0
    assert built == ["none", "pni"]
    assert all(pair in KeptBuilds() for pair in pairs()), "it was written anew"
