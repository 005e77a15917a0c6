"""What plugins register: found lazily, guarded, explained when it fails."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import robuststack as rs
from robuststack import hookimpl
from robuststack.errors import PluginError
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import KINDS, PluginSource, Registry


class Plain(rs.Defense):
    """A defense for these tests."""

    class Options(rs.Options):
        strength: int = rs.option(1, "How strong.")


class Grown(rs.Architecture):
    """A family of networks for these tests."""

    class Options(rs.Options):
        depth: int = rs.option(1, "Layers.", ge=2)
        widen: int = rs.option(1, "Width.")
        activation: str = rs.option("relu", "Activation.")


NOT_A_CLASS = "something else"


def source(name: str, distribution: str = "fakes", **hooks) -> PluginSource:
    """A plugin whose hooks are the given functions."""
    plugin = SimpleNamespace(**{hook: hookimpl(function) for hook, function in hooks.items()})
    return PluginSource(name, distribution, "1.0", lambda: plugin)


def defenses(name: str, targets: dict[str, str], distribution: str = "fakes", **settings) -> PluginSource:
    """A plugin that registers defenses: name -> the class's place."""

    def register_defense(register):
        for component, target in targets.items():
            register(component, target, **settings)

    return source(name, distribution, register_defense=register_defense)


def family(name: str, pattern: str, **preset) -> PluginSource:
    def register_architecture(register):
        register("net-D-K", f"{__name__}:Grown", pattern=pattern, preset=preset)

    return source(name, register_architecture=register_architecture)


def importing(name: str, folder: Path, text: str) -> PluginSource:
    """A plugin that is a real module with this text."""
    (folder / f"{name}.py").write_text(text)
    return PluginSource(name, "fakes", "1.0", lambda: importlib.import_module(name))


GOOD = defenses("good", {"plain": f"{__name__}:Plain"})


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder for plugin modules, forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def one_broken(registry: Registry) -> str:
    """The one broken plugin, after making sure that the good one works."""
    assert registry.create("defense", "plain").name == "plain"
    (broken,) = registry.broken
    assert registry.warnings() == [str(broken)]
    return str(broken)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
        ("def f(:", "SyntaxError: "),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_fails_on_import_is_named_and_the_others_go_on(modules, text, reason):
    broken = one_broken(Registry([importing("broken_plugin", modules, text), GOOD]))
    assert broken.startswith(f"plugin 'broken_plugin' of fakes 1.0 is not used: {reason}")


def test_a_keyboard_interrupt_while_plugins_load_ends_the_program(modules):
    with pytest.raises(KeyboardInterrupt):
        Registry([importing("interrupting_plugin", modules, "raise KeyboardInterrupt")])


def test_an_unknown_hook_is_named():
    registry = Registry([source("typo", register_defence=lambda register: None), GOOD])
    assert one_broken(registry).endswith("PluginError: it implements 'register_defence', which is no hook")


def test_a_wrong_hook_signature_is_named():
    registry = Registry([source("wrong", register_defense=lambda registrar: None), GOOD])
    assert "'registrar'" in one_broken(registry)


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), SystemExit("no")])
def test_a_plugin_whose_registration_fails_takes_no_part_at_all(error):
    calls = []

    def register_defense(register):
        register("half", f"{__name__}:Plain")
        raise error

    broken = source("failing", register_defense=register_defense, job_started=lambda job: calls.append(job))
    registry = Registry([broken, GOOD])
    assert one_broken(registry).endswith(f"{type(error).__name__}: no")
    assert registry.names("defense") == ["plain"]
    registry.hooks.hook.job_started(job=None)
    assert calls == [], "its other hooks are not called either"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"targets": {"bad": "no colon"}}, "the target must read 'package.module:Class', not 'no colon'"),
        ({"targets": {"bad": None}}, "the target must read 'package.module:Class', not None"),
        ({"targets": {"bad": "a:B"}, "pattern": "("}, "missing ), unterminated subpattern"),
        ({"targets": {"bad": "a:B"}, "presets": {}}, "unexpected keyword argument 'presets'"),
    ],
)
def test_a_registration_that_cannot_be_meant_is_named(settings, reason):
    assert reason in one_broken(Registry([defenses("bad", **settings), GOOD]))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("absent_module:Plain", "cannot be imported: ModuleNotFoundError: No module named 'absent_module'"),
        (f"{__name__}:Absent", "cannot be imported: AttributeError: "),
        (f"{__name__}:NOT_A_CLASS", f"{__name__}:NOT_A_CLASS is not a Defense class"),
        (f"{__name__}:Grown", f"{__name__}:Grown is not a Defense class"),
        ("exiting_module:Plain", "cannot be imported: SystemExit: 3"),
    ],
)
def test_a_component_that_cannot_be_had_is_an_error_when_it_is_used(modules, target, reason):
    (modules / "exiting_module.py").write_text("raise SystemExit(3)")
    registry = Registry([defenses("bad", {"unusable": target}), GOOD])
    assert registry.warnings() == []
    assert registry.create("defense", "plain").name == "plain"
    with pytest.raises(PluginError) as caught:
        registry.create("defense", "unusable")
    assert str(caught.value).startswith("defense 'unusable' (plugin 'bad' of fakes 1.0)")
    assert reason in str(caught.value)


def test_nothing_is_imported_before_it_is_used(modules):
    (modules / "lazy_module.py").write_text("import robuststack as rs\nclass Lazy(rs.Defense): ...\n")
    registry = Registry([defenses("lazy", {"lazy": "lazy_module:Lazy"})])
    assert registry.find("defense", "lazy").target == "lazy_module:Lazy"
    assert "lazy_module" not in sys.modules
    registry.create("defense", "lazy")
    assert "lazy_module" in sys.modules


def test_a_name_registered_twice_is_a_warning_and_an_error_only_when_used():
    again = defenses("again", {"plain": f"{__name__}:Plain", "own": f"{__name__}:Plain"}, "others")
    registry = Registry([GOOD, again])
    line = (
        "defense 'plain' is registered by plugin 'good' of fakes 1.0 and by plugin 'again' of others 1.0; uninstall one"
        " of them"
    )
    assert registry.warnings() == [line]
    assert registry.create("defense", "own").name == "own"
    with pytest.raises(PluginError) as caught:
        registry.create("defense", "plain")
    assert str(caught.value) == line


def test_one_name_may_belong_to_two_kinds():
    def register_architecture(register):
        register("plain", f"{__name__}:Grown")

    registry = Registry([GOOD, source("nets", register_architecture=register_architecture)])
    assert registry.warnings() == []
    assert isinstance(registry.create("architecture", "plain"), Grown)


def test_a_component_knows_its_name_and_who_brought_it():
    defense = Registry([GOOD]).create("defense", "plain", {"strength": 3})
    assert defense.resolved() == {"name": "plain", "plugin": "fakes", "revision": 1, "options": {"strength": 3}}


def test_options_that_do_not_fit_name_the_component():
    with pytest.raises(
        InvalidOptions, match=r"^defense 'plain': unknown key 'strengt': did you mean 'strength'\?$"
    ) as e:
        Registry([GOOD]).create("defense", "plain", {"strengt": 3})
    assert e.value.path == ("options", "strengt")


# --- families


def test_a_family_takes_its_options_from_the_name():
    registry = Registry([family("nets", r"net-(?P<depth>\d+)-(?P<widen>\d+)", activation="gelu")])
    assert registry.names("architecture") == ["net-D-K"]
    architecture = registry.create("architecture", "net-16-4")
    assert architecture.name == "net-16-4"
    assert architecture.options.resolved() == {"depth": 16, "widen": 4, "activation": "gelu"}


def test_an_option_cannot_contradict_the_name():
    registry = Registry([family("nets", r"net-(?P<depth>\d+)-(?P<widen>\d+)")])
    assert registry.create("architecture", "net-16-4", {"widen": 4}).options.widen == 4
    with pytest.raises(InvalidOptions, match="'net-16-4': option 'widen' is 4 by its name; choose another name"):
        registry.create("architecture", "net-16-4", {"widen": 2})


def test_a_part_of_the_name_that_is_left_out_keeps_its_default():
    registry = Registry([family("nets", r"net-(?P<depth>\d+)(?:-(?P<widen>\d+))?")])
    assert registry.create("architecture", "net-16").options.resolved()["widen"] == 1


def test_a_name_of_a_family_that_its_options_refuse_is_an_error():
    registry = Registry([family("nets", r"net-(?P<depth>\d+)-(?P<widen>\d+)")])
    with pytest.raises(
        InvalidOptions, match=r"^architecture 'net-1-1': depth: must be greater than or equal to 2, not 1$"
    ):
        registry.create("architecture", "net-1-1")


def test_the_placeholder_of_a_family_is_explained():
    registry = Registry([family("nets", r"net-(?P<depth>\d+)-(?P<widen>\d+)")])
    with pytest.raises(PluginError) as caught:
        registry.find("architecture", "net-D-K")
    message = "architecture 'net-D-K' stands for a family: put values in place of D and K (depth, widen)"
    assert str(caught.value) == message


def test_a_family_that_is_named_without_capitals_is_explained_by_its_options():
    def register_architecture(register):
        register("nets", f"{__name__}:Grown", pattern=r"net-(?P<depth>\d+)-(?P<widen>\d+)")

    registry = Registry([source("nets", register_architecture=register_architecture)])
    message = "architecture 'nets' stands for a family: put values in place of depth and widen"
    with pytest.raises(PluginError, match=f"^{message}$"):
        registry.find("architecture", "nets")


def test_a_family_registered_twice_is_an_error_only_when_used():
    pattern = r"net-(?P<depth>\d+)-(?P<widen>\d+)"
    registry = Registry([family("nets", pattern), family("others", pattern), GOOD])
    assert len(registry.warnings()) == 1
    assert registry.create("defense", "plain").name == "plain"
    with pytest.raises(PluginError, match=r"'nets' of fakes 1\.0 and by plugin 'others' of fakes 1\.0"):
        registry.create("architecture", "net-16-4")


def test_the_built_in_family_is_there():
    architecture = Registry().create("architecture", "wrn-16-4")
    assert (architecture.options.depth, architecture.options.widen) == (16, 4)


# --- unknown names


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(PluginError, match=r"^unknown defense 'plane': did you mean 'plain'\?$"):
        Registry([GOOD]).find("defense", "plane")


def test_an_unknown_name_like_no_other_gets_the_list():
    with pytest.raises(PluginError, match=r"^unknown defense 'zzz': valid: plain$"):
        Registry([GOOD]).find("defense", "zzz")


def test_an_unknown_name_where_nothing_is_registered_says_so():
    with pytest.raises(PluginError, match=r"^unknown attack 'pgd': there are none$"):
        Registry([GOOD]).find("attack", "pgd")


def test_a_broken_plugin_is_named_where_a_name_is_unknown(modules):
    registry = Registry([importing("maybe_plugin", modules, "import absent_package"), GOOD])
    with pytest.raises(PluginError) as caught:
        registry.find("defense", "theirs")
    assert str(caught.value) == (
        "unknown defense 'theirs': valid: plain; plugin 'maybe_plugin' of fakes 1.0 is not used: ModuleNotFoundError:"
        " No module named 'absent_package' (it may be what provides this name)"
    )


# --- the built-in plugins


def test_every_built_in_component_loads_with_its_defaults_and_a_summary():
    for registration in Registry():
        cls = registration.load()
        assert issubclass(cls, KINDS[registration.kind])
        assert cls.summary().endswith(".")


def imports_of(text: str) -> set[str]:
    """The modules that a source file imports or names in a call of an import function, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def plugin_imports(folder: Path) -> list[str]:
    return [
        f"{path.name}: {name}"
        for path in sorted(folder.rglob("*.py"))
        for name in sorted(imports_of(path.read_text()))
        if name.partition(".")[0].partition(":")[0] in ("robuststack_plugins", "robuststack_alp")
    ]


def test_the_host_imports_no_plugin():
    host = Path(rs.__file__).parent
    assert len(list(host.rglob("*.py"))) > 30
    assert plugin_imports(host) == []


@pytest.mark.parametrize(
    "line",
    [
        "import robuststack_plugins",
        "import robuststack_plugins.attacks.pgd as pgd",
        "from robuststack_plugins.attacks import pgd",
        "def f():\n    from robuststack_alp import LogitPairing",
        "importlib.import_module('robuststack_plugins.attacks')",
        "TARGET = 'robuststack_plugins.attacks.pgd:PGD'",
    ],
)
def test_an_import_of_a_plugin_would_be_found(tmp_path, line):
    (tmp_path / "planted.py").write_text(line)
    assert len(plugin_imports(tmp_path)) == 1
