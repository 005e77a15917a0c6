"""Parameter counts, to the last one: the published architectures, and one that no defense has ever seen."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.layers.condition import Condition
from robuststack.layers.roles import mark
from robuststack.layers.slimmable import slim
from robuststack.options import parse
from robuststack.registry import Registry

REGISTRY = Registry()
DEFENSES = {
    "pgd_at": ("pgd_at", {}),
    "pni": ("pni", {}),
    "advprop": ("advprop", {}),
    "float": ("float", {}),
    "oat 1": ("oat", {"dim": 1}),
    "oat 128": ("oat", {"dim": 128}),
}
TEN_CLASSES = {
    "resnet34": (21_282_122, 21_282_159, 21_299_146, 21_299_182, 31_421_002, 33_355_466),
    "wrn40_2": (2_243_546, 2_243_587, 2_248_954, 2_248_994, 3_232_090, 3_886_394),
    "wrn16_8": (10_961_370, 10_961_387, 10_968_570, 10_968_586, 15_444_570, 16_228_922),
    "resnet20": (269_722, 269_742, 271_098, 271_117, 405_274, 580_026),
}
SAME = {"none": "pgd_at", "adapter_soup": "advprop", "floats_sparse": "float"}
"""Defenses with as many parameters as another: a soup's second affine set, masks that are no parameters."""
SLIM_RESNET34 = {
    "floats": ("floats", {}, 21_316_206),
    "oats 1": ("oats", {"dim": 1}, 31_438_026),
    "oats 128": ("oats", {"dim": 128}, 33_372_490),
}
"""At widths 0.5 and 1."""
MORE = {  # classes -> what the classifier grows by
    "resnet34": {10: 0, 100: 46_170, 200: 97_470},
    "wrn40_2": {10: 0, 100: 11_610, 200: 24_510},
    "wrn16_8": {10: 0, 100: 46_170, 200: 97_470},
    "resnet20": {10: 0, 100: 5_850, 200: 12_350},
}


def count(defense: rs.Defense, architecture: rs.Architecture, classes: int) -> int:
    with torch.device("meta"):
        model = defense.build(architecture, (3, 32, 32), classes)
    point = parse(type(defense).Knobs, defense.operating_points()[-1]).resolved()
    return defense.parameters(model, defense.setting(point))


@pytest.mark.parametrize("classes", [10, 100, 200])
@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("architecture", TEN_CLASSES)
def test_the_number_of_parameters_is_the_known_one(architecture, defense, classes):
    expected = TEN_CLASSES[architecture][list(DEFENSES).index(defense)] + MORE[architecture][classes]
    name, options = DEFENSES[defense]
    found = count(REGISTRY.create("defense", name, options), REGISTRY.create("architecture", architecture), classes)
    assert found == expected


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("architecture", TEN_CLASSES)
def test_defenses_that_differ_in_no_parameter_have_as_many(architecture, name):
    expected = TEN_CLASSES[architecture][list(DEFENSES).index(SAME[name])]
    assert count(REGISTRY.create("defense", name), REGISTRY.create("architecture", architecture), 10) == expected


@pytest.mark.parametrize("name", SLIM_RESNET34)
def test_the_slim_networks_have_the_known_number_of_parameters(name):
    registered, options, expected = SLIM_RESNET34[name]
    defense = REGISTRY.create("defense", registered, options)
    assert count(defense, REGISTRY.create("architecture", "resnet34"), 10) == expected


def test_switchable_batch_norm_alone_adds_the_norms_of_the_narrow_widths():
    with torch.device("meta"):
        plain = REGISTRY.create("architecture", "resnet34").build((3, 32, 32), 10)
        model = slim(plain, [0.5, 1.0], Condition("width"))
    assert sum(one.numel() for one in model.parameters()) == 21_290_634


def test_the_family_name_is_the_same_network():
    named, family = (REGISTRY.create("architecture", one) for one in ("wrn40_2", "wrn-40-2"))
    assert count(rs.Defense(), named, 10) == count(rs.Defense(), family, 10)


class Unseen(rs.Architecture):
    """A chain of convolutions of drawn widths, kernels and norm roles."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.layers = [
            (draw.randint(2, 40), draw.choice([1, 3]), draw.choice(["stem", "block", "shortcut", "final", None]))
            for _ in range(draw.randint(2, 7))
        ]
        self.layers[0] = (self.layers[0][0], 3, "stem")

    def build(self, shape, num_classes):
        layers, inputs = [], shape[0]
        for width, kernel, role in self.layers:
            layers.append(nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False))
            layers.append(mark(nn.BatchNorm2d(width), role) if role else nn.ReLU())
            inputs = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))

    def plain(self, channels: int, classes: int) -> int:
        widths = [channels, *(width for width, _, _ in self.layers)]
        convolutions = sum(
            inputs * width * kernel**2
            for inputs, (width, kernel, _) in zip(widths, self.layers, strict=False)
        )  # fmt: skip
        return convolutions + self.dual + (widths[-1] + 1) * classes

    @property
    def dual(self) -> int:
        return sum(2 * width for width, _, role in self.layers if role)

    def film(self, dim: int) -> int:
        return sum(4 * width**2 + (2 * dim + 4) * width for width, _, role in self.layers if role in ("stem", "block"))


@pytest.mark.parametrize("seed", range(25))
def test_defenses_rewrite_an_architecture_they_have_never_seen(seed):
    architecture, classes = Unseen(seed), 2 + seed
    plain = architecture.plain(3, classes)
    create = REGISTRY.create
    assert count(create("defense", "none"), architecture, classes) == plain
    floating = plain + architecture.dual + len(architecture.layers)
    assert count(create("defense", "float"), architecture, classes) == floating
    for dim in (1, 8, 128):
        tuned = plain + architecture.dual + architecture.film(dim)
        assert count(create("defense", "oat", {"dim": dim}), architecture, classes) == tuned


def test_an_unseen_architecture_runs_under_every_defense():
    x: Tensor = torch.rand(2, 3, 6, 6)
    for name, options in DEFENSES.values():
        defense = REGISTRY.create("defense", name, options)
        model = defense.build(Unseen(3), (3, 6, 6), 5).eval()
        assert defense.deploy(model, defense.operating_points()[-1])(x).shape == (2, 5)
