"""robuststack describe: sizes of networks, and published ones beside ours."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from robuststack.cli import call
from robuststack.leaderboard.float_table1 import published
from robuststack.plugin.registry import Registry

PLUGIN = '''
import torch
from torch import nn
import robuststack as rs

@rs.hookimpl
def register_defense(register):
    register("half", "sized_plugin:Half")

@rs.hookimpl
def register_architecture(register):
    register("picky", "sized_plugin:Picky")
    register("faulty", "sized_plugin:Faulty")

class Half(rs.Defense):
    """Fixes half of the first layer's weights at zero; which ones is drawn."""

    def build(self, architecture, shape, num_classes):
        model = architecture.build(shape, num_classes)
        weight = next(model.parameters())
        self.dead = torch.randperm(weight.numel(), device=weight.device)[: weight.numel() // 2]
        weight.data.view(-1)[self.dead] = 0
        return model

    def nonzero_parameters(self, model, setting):
        weight = next(model.parameters())
        return self.parameters(model, setting) - int((weight == 0).sum())

class Picky(rs.Architecture):
    """Fails on small images, and only when it runs."""

    def build(self, shape, num_classes):
        return nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten(), nn.LazyLinear(num_classes))

class Faulty(rs.Architecture):
    """Has a fault."""

    def build(self, shape, num_classes):
        return nn.Conv2d(3)
'''


@pytest.fixture
def describe(capsys):
    """Arguments -> (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(["describe", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def facts(describe):
    """Arguments -> what is printed as JSON."""

    def run(*arguments: str):
        code, output, errors = describe(*arguments, "--json")
        assert (code, errors) == (0, "")
        return json.loads(output)

    return run


@pytest.fixture
def sized_plugin(tmp_path, monkeypatch):
    """An installed distribution with a defense, two architectures and a published size."""
    info = tmp_path / "sized_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sized-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robuststack]\nsized = sized_plugin\n")
    (tmp_path / "sized_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)


# Sizes


def test_options_of_the_architecture_count_too(facts):
    whole, thin = facts("resnet8"), facts("resnet8 width=4")
    assert (whole["architecture_options"]["width"], thin["architecture_options"]["width"]) == (16, 4)
    assert thin["parameters"] < whole["parameters"] / 10


def test_multiplications_follow_the_image(facts):
    assert facts("wrn40_2", "--shape", "3,96,96")["macs"] == 2_948_384_000


def test_parameters_fixed_at_zero_are_told_apart_even_where_they_are_drawn(describe, facts, sized_plugin):
    plain, half = facts("resnet8"), facts("resnet8", "--defense", "half")
    first_layer = 3 * 3 * 3 * 16
    assert half["parameters"] == plain["parameters"]
    assert half["nonzero_parameters"] == plain["parameters"] - first_layer // 2
    assert "nonzero_parameters" not in plain
    _, output, _ = describe("resnet8", "--defense", "half")
    assert f"\nnonzero parameters {half['nonzero_parameters']:,}\n" in output


# Published sizes

AGREEING = {  # method, architecture, printed -> the conventions that give it, and how
    ("oat", "resnet34", "31.4"): {"d = 1, one batch norm": "yes", "d = 1, dual batch norm": "yes"},
    ("oat", "wrn40_2", "3.22"): {"d = 1, one batch norm": "cut off"},
    ("oat", "wrn16_8", "15.43"): {"d = 1, one batch norm": "cut off"},
    ("float", "resnet34", "21.28"): {"one batch norm": "yes"},
    ("float", "wrn40_2", "2.25"): {"dual batch norm": "rounded"},
    ("float", "wrn16_8", "10.97"): {"dual batch norm": "rounded"},
    ("float", "wrn16_8", "2.01"): {},
    ("oat / float", "resnet34", "1.47"): {"d = 1, one batch norm": "cut off", "d = 1, dual batch norm": "cut off"},
}


def test_the_published_table_agrees_where_it_can_and_by_which_convention(facts):
    agreeing = {
        (figure["method"], figure["architecture"], figure["printed"]): {
            way["convention"]: way["agrees"] for way in figure["conventions"] if way["agrees"] != "no"
        }
        for figure in facts("--table1")
    }
    assert agreeing == AGREEING


def test_the_counted_sizes_are_those_of_the_conventions(facts):
    counted = {
        (figure["method"], figure["architecture"], way["convention"]): way["counted"]
        for figure in facts("--table1", "resnet34") for way in figure["conventions"]
    }  # fmt: skip
    assert counted == {
        ("oat", "resnet34", "d = 1, one batch norm"): 31_403_978,
        ("oat", "resnet34", "d = 1, dual batch norm"): 31_421_002,
        ("oat", "resnet34", "d = 128 (recommended), dual batch norm"): 33_355_466,
        ("float", "resnet34", "one batch norm"): 21_282_158,
        ("float", "resnet34", "dual batch norm"): 21_299_182,
        ("oat / float", "resnet34", "d = 1, one batch norm"): 1.4756,
        ("oat / float", "resnet34", "d = 1, dual batch norm"): 1.4752,
        ("oat / float", "resnet34", "d = 128 (recommended), dual batch norm"): 1.566,
    }


def test_the_table_says_where_the_paper_does_not_add_up(describe):
    code, output, errors = describe("--table1")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert "Kundu et al., FLOAT, WACV 2023, arXiv 2204.00426, Table 1" in lines
    (row,) = (line for line in lines if "wrn16_8" in line and "1,548,145,664" in line)
    assert row.split() == [
        "float",
        "wrn16_8",
        "2.01",
        "G",
        "MACs",
        "convolutions",
        "and",
        "classifier",
        "1,548,145,664",
        "no",
    ]
    assert "float: nothing counted here gives 2.01 G MACs (wrn16_8)" in lines
    assert (
        "float: no one convention gives every figure; 21.28 M parameters (resnet34): one batch norm, 2.25 M parameters"
        " (wrn40_2): dual batch norm, 10.97 M parameters (wrn16_8): dual batch norm"
    ) in lines
    assert not any(line.startswith("oat: ") for line in lines), "d = 1 with one batch norm gives all three"


def test_every_published_size_names_its_source_and_what_is_registered():
    registry = Registry()
    figures = published()
    assert figures
    for figure in figures:
        assert "arXiv" in figure.source
        assert figure.conventions
        for sizes in figure.conventions.values():
            for size in sizes if isinstance(sizes, tuple) else (sizes,):
                assert size.architecture == figure.architecture
                registry.create("architecture", size.architecture)
                registry.create("defense", size.defense, size.options)


# What it cannot use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing argument 'ARCHITECTURE'."),
        ("--table1 resnet35", "no size of 'resnet35' is published: did you mean 'resnet34'"),
        ("--table1 --shape 3,32,32", "--shape has no meaning beside --table1, which counts what was published"),
        ("--table1 --defense oat", "--defense has no meaning beside --table1, which counts what was published"),
        ("'resnet8 width'", "ARCHITECTURE resnet8 width: write a name and its options, for example"),
        ("'resnet8 width=2 width=3'", "ARCHITECTURE resnet8 width=2 width=3: key 'width' is written twice"),
        ("'resnet8 widht=2'", "architecture 'resnet8': unknown key 'widht': did you mean 'width'?"),
        ("'resnet8 width=0'", "'resnet8': width: must be greater than or equal to 1, not 0"),
        ("'resnet8 depth=20'", "'resnet8': option 'depth' is 8 by its name; choose another"),
        ("wrn-11-2", "architecture 'wrn-11-2': depth: 11 is not 6n + 4; valid: 10, 16, 22, 28, 34, 40"),
        ("'wrn16_8 dropout=1'", "architecture 'wrn16_8': dropout: must be less than 1, not 1"),
        ("torchvision:NAME", "architecture 'torchvision:NAME' stands for a family: put values in place of NAME (model)"),
        ("torchvision:densenet12", "torchvision has no classification model 'densenet12': did you mean 'densenet121'"),
        ("torchvision:resnet18 --shape 1,32,32", "torchvision:resnet18 takes images of 3 channels, not 1: give the dataset"
         " the option channels: 3"),
        ("torchvision:densenet121 --shape 3,8,8", "architecture 'torchvision:densenet121' does not work for images of"
         " 3 x 8 x 8: Given input size: (256x1x1). Calculated output size: (256x0x0). Output size is too small"),
        ("timm:vit_tiny_patch16_224", "architecture 'timm:vit_tiny_patch16_224' does not work for images of 3 x 32 x 32:"
         " Input height (32) doesn't match model (224)."),
        ("picky --shape 3,8,8", "architecture 'picky' does not work for images of 3 x 8 x 8: "),
    ],
)  # fmt: skip
def test_what_cannot_be_described_is_one_line_and_exit_code_2(describe, sized_plugin, arguments, message):
    code, output, errors = describe(*shlex.split(arguments))
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert errors.startswith("robuststack: error: ")
    assert message in errors


def test_a_fault_of_a_plugin_is_one_line_with_its_place(describe, sized_plugin):
    code, output, errors = describe("faulty")
    assert (code, output) == (2, "")
    missing = "TypeError: .* missing 2 required positional arguments: .*"
    line = rf"robuststack: error: architecture 'faulty' fails: {missing} \(sized_plugin.py, line \d+\)\n"
    assert re.fullmatch(line, errors), errors
