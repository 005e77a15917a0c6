"""robuststack check: everything that is wrong with a suite at once, and what cannot be built."""

from __future__ import annotations

import re

import pytest

import robuststack as rs
from robuststack.cli import call
from robuststack.engine.buildable import check_buildable
from robuststack.errors import SuiteError, SuiteErrors
from robuststack.plan.pair import pairs_of
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite
from robuststack.suite.resolve import Resolver

DATA = "datasets: {name: tradeoff, options: {images: 40, test_images: 20, size: 32, classes: 4}}\n"
MANY = (
    DATA
    + """\
architectures: [resnet8, {name: resnet20, options: {width: 4, wdth: 3}}]
defenses:
  - none
  - {name: oatt}
  - {name: float, points: [{lambda_n: 3}, {lam: 1}]}
attacks: [fgsm, {name: pgd, options: {steps: -1, stepz: 2}}, fgsm]
train: {attack: {name: square}}
"""
)
SAID = [
    "many.yaml:2:63: architecture 'resnet20': unknown key 'wdth': did you mean 'width' or 'depth'?",
    "many.yaml:5:6: unknown defense 'oatt': did you mean 'oat' or 'oats' or 'float'?",
    "many.yaml:6:29: points of float: lambda_n: must be less than or equal to 1, not 3",
    "many.yaml:6:44: points of float: unknown key 'lam': valid: lambda_n, lambda_th",
    "many.yaml:7:39: attack 'pgd': steps: must be greater than or equal to 1, not -1",
    "many.yaml:7:50: attack 'pgd': unknown key 'stepz': did you mean 'step' or 'steps'?",
    "many.yaml:7:62: two attacks are labelled 'FGSM'; give one of them another `label:`",
    "many.yaml:8:9: train.attack: 'square' is no gradient attack, so it cannot train; use pgd or fgsm",
]
KEYS = """\
datasets: digits
architecture: resnet8
defenses: none
attacks: fgsm
train: {epochs: 1.5, lrr: 3}
evaluate: {keep_images: yes}
"""
KEYS_SAID = [
    "keys.yaml:2:1: unknown key 'architecture': did you mean 'architectures'?",
    "keys.yaml:5:9: train.epochs: must be a valid integer, not 1.5",
    "keys.yaml:5:22: unknown key 'lrr' in train: did you mean 'lr'?",
    "keys.yaml:6:12: evaluate.keep_images: must be true or false, not 'yes'",
]
BUILT = (
    DATA
    + """\
architectures:
  - {name: resnet8, options: {width: 4}}
  - "torchvision:squeezenet1_1"
defenses: [none, {name: float, points: {lambda_n: 1}}]
attacks: fgsm
train: {epochs: 1, batch_size: 20}
evaluate: {draws: 2}
measure: {latency: false}
"""
)
WHY = "dual norm needs an architecture with batch, group, instance or layer norms, and this one has none"


BOTH = """\
datasets: {name: tradeoff, options: {size: 8, clases: 3}, threat: {eps: 0.1, nrm: l2}}
architecture: resnet8
defenses: [nonne, {name: float, points: {lambda_n: 3}}]
attacks: [fgsm, {name: pgd, options: {stepz: 5}}]
train: {epochs: many}
evalute: {draws: 3}
"""
BOTH_SAID = [
    "both.yaml:1:47: dataset 'tradeoff': unknown key 'clases': did you mean 'classes'?",
    "both.yaml:1:78: unknown key 'nrm' in datasets.threat: did you mean 'norm'?",
    "both.yaml:2:1: unknown key 'architecture': did you mean 'architectures'?",
    "both.yaml:3:12: unknown defense 'nonne': did you mean 'none'?",
    "both.yaml:3:42: points of float: lambda_n: must be less than or equal to 1, not 3",
    "both.yaml:4:39: attack 'pgd': unknown key 'stepz': did you mean 'step' or 'steps'?",
    "both.yaml:5:9: train.epochs: must be a valid integer, not 'many'",
    "both.yaml:6:1: unknown key 'evalute': did you mean 'evaluate' or 'measure'?",
]
"""Keys and names."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory, with the suites."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("many", MANY), ("keys", KEYS), ("both", BOTH), ("built", BUILT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def errors(capsys):
    """Arguments of a command that is refused -> the lines on standard error."""

    def lines(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert call(arguments) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        return errors.splitlines()

    return lines


@pytest.mark.parametrize("command", [["check"], ["check", "--quick"], ["plan"], ["run"], ["run", "--dry-run"]])
@pytest.mark.parametrize(("suite", "said"), [("many.yaml", SAID), ("keys.yaml", KEYS_SAID), ("both.yaml", BOTH_SAID)])
def test_all_errors_of_a_suite_are_told_at_once_in_the_order_of_the_file(errors, here, command, suite, said):
    assert errors(*command, suite) == [f"robuststack: error: {line}" for line in said]
    assert not (here / ".robuststack").exists()


def test_from_python_they_are_one_error_of_several_lines():
    with pytest.raises(SuiteErrors) as caught:
        rs.run("many.yaml")
    assert str(caught.value).splitlines() == SAID == [str(error) for error in caught.value.errors]
    with pytest.raises(SuiteError) as alone:
        rs.run("keys.yaml", overrides=["defenses=nine"])
    assert len(alone.value.errors) == 5, "names are looked up without the keys that are wrong"


def test_a_defense_that_an_architecture_cannot_take_names_both_their_place_and_what_works(errors):
    assert errors("check", "built.yaml") == [
        "robuststack: error: built.yaml:5:18: defense 'float' on architecture 'torchvision:squeezenet1_1', images of"
        f" 3 x 32 x 32: {WHY}; works here: defense none on this architecture, this defense on architecture resnet8"
    ]


def test_what_is_left_out_is_not_built(capsys):
    for arguments in (["--quick"], ["--only", "none"], ["--only", "resnet8"]):
        assert call(["check", "built.yaml", *arguments]) == 0
        assert "built.yaml: valid, " in capsys.readouterr().out


def test_an_architecture_that_takes_no_such_images_is_the_culprit_for_every_defense(errors):
    lines = errors("check", "built.yaml", "--set", "datasets.options.size=8", "--set", "defenses=[none, pgd_at]")
    assert len(lines) == 2
    for defense, line in zip(("none", "pgd_at"), lines, strict=True):
        assert (
            f"built.yaml:4:5: defense '{defense}' on architecture 'torchvision:squeezenet1_1', images of 3 x 8 x 8: "
            in line
        )
        assert "architecture 'torchvision:squeezenet1_1' does not work for images of 3 x 8 x 8: " in line
        assert line.endswith("; works here: this defense on architecture resnet8")


class Weighing(rs.Architecture):
    """It computes with its weights while it is built, which the meta device cannot, and may be too heavy."""

    class Options(rs.Options):
        most: float = rs.option(1.0, "The largest weight.")

    def build(self, shape, num_classes):
        from torch import nn

        layer = nn.Linear(shape[0] * shape[1] * shape[2], num_classes)
        if float(layer.weight.abs().max()) > self.options.most:
            raise ValueError("it weighs too much")
        return nn.Sequential(nn.Flatten(), layer)


class Plugin:
    @staticmethod
    @rs.hookimpl
    def register_architecture(register):
        register("weighing", f"{__name__}:Weighing")


def test_what_needs_its_weights_to_be_built_is_built_with_them(here):
    registry = Registry([*installed_sources(), PluginSource("weighing", "weighing", "1", Plugin)])
    for most in (1.0, 0.0):
        suite = load_suite(
            "built.yaml", ["defenses=none", f"architectures={{name: weighing, options: {{most: {most}}}}}"]
        )
        resolver = Resolver(suite, registry)
        pairs = pairs_of(resolver.cells(resolver.attacks()))
        if most:
            assert check_buildable(suite, pairs) == pairs
        else:
            with pytest.raises(SuiteError, match=re.escape("images of 3 x 32 x 32: it weighs too much")):
                check_buildable(suite, pairs)


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_run_it_fails_its_rows_and_not_the_others(workers):
    result = rs.run("built.yaml", device="cpu", workers=workers)
    assert [row.label for row in result.rows] == [
        "tradeoff/resnet8/none", "tradeoff/resnet8/float lambda_n=1 lambda_th=0", "tradeoff/torchvision:squeezenet1_1/none",
    ]  # fmt: skip
    assert result.failed == {"tradeoff/torchvision:squeezenet1_1/float": WHY}
    assert len(result.plan.rows) == 4


def test_a_run_of_nothing_else_is_refused(capsys):
    row = "tradeoff/torchvision:squeezenet1_1/float lambda_n=1 lambda_th=0"
    assert call(["run", "built.yaml", "--device", "cpu", "--only", row]) == 2
    said = capsys.readouterr().err
    assert said == f"robuststack: error: tradeoff/torchvision:squeezenet1_1/float: {WHY}\n"
