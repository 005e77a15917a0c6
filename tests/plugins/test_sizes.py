"""Parameters and multiply-accumulates, to the last one: the published architectures, and one that no defense has seen."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import robuststack as rs
from robuststack.engine.counting import sizes
from robuststack.layers.condition import Condition
from robuststack.layers.roles import mark
from robuststack.layers.slimmable import slim
from robuststack.plugin.registry import PluginSource, Registry, installed_sources

DEFENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "pgd_at": ("pgd_at", {}),
    "trades": ("trades", {}),
    "mart": ("mart", {}),
    "pni": ("pni", {}),
    "random_resize": ("random_resize", {}),
    "input_noise": ("input_noise", {}),
    "rse": ("rse", {}),
    "rpf": ("rpf", {}),
    "adv_bnn": ("adv_bnn", {}),
    "advprop": ("advprop", {}),
    "adapter_soup": ("adapter_soup", {}),
    "float": ("float", {}),
    "floats_sparse": ("floats_sparse", {}),
    "floats": ("floats", {}),
    "oat 1": ("oat", {"dim": 1}),
    "oat 128": ("oat", {"dim": 128}),
    "oats 1": ("oats", {"dim": 1}),
    "oats 128": ("oats", {"dim": 128}),
}
PUBLISHED = ("pgd_at", "pni", "advprop", "float", "oat 1", "oat 128")
TEN_CLASSES = {
    "resnet34": (21_282_122, 21_282_159, 21_299_146, 21_299_182, 31_421_002, 33_355_466),
    "wrn40_2": (2_243_546, 2_243_587, 2_248_954, 2_248_994, 3_232_090, 3_886_394),
    "wrn16_8": (10_961_370, 10_961_387, 10_968_570, 10_968_586, 15_444_570, 16_228_922),
    "resnet20": (269_722, 269_742, 271_098, 271_117, 405_274, 580_026),
}
SAME = {
    "none": "pgd_at", "trades": "pgd_at", "mart": "pgd_at", "random_resize": "pgd_at", "input_noise": "pgd_at",
    "rse": "pgd_at",
    "adapter_soup": "advprop", "floats_sparse": "float",
}  # fmt: skip
"""Defenses with as many parameters as another: a soup's second affine set, masks that are no parameters."""
SLIM_RESNET34 = {"floats": 21_316_206, "oats 1": 31_438_026, "oats 128": 33_372_490}
"""At widths 0.5 and 1."""
MORE = {  # classes -> what the classifier grows by
    "resnet34": {10: 0, 100: 46_170, 200: 97_470},
    "wrn40_2": {10: 0, 100: 11_610, 200: 24_510},
    "wrn16_8": {10: 0, 100: 46_170, 200: 97_470},
    "resnet20": {10: 0, 100: 5_850, 200: 12_350},
}
MANY = {"resnet20": 100, "wrn16_8": 200}
MACS = {  # architecture, size of an image, defense -> multiply-accumulates
    ("resnet34", 32, "none"): 1_159_402_496,
    ("resnet34", 32, "float"): 1_159_402_496,
    ("resnet34", 32, "oat 1"): 1_169_493_888,
    ("wrn40_2", 96, "none"): 2_948_384_000,
    ("wrn40_2", 96, "float"): 2_948_384_000,
    ("wrn16_8", 32, "none"): 1_548_145_664,
    ("resnet20", 32, "none"): 40_551_040,
}

Role = Literal["stem", "block", "shortcut", "final"]


class Layer(rs.Options):
    """A convolution of `width` channels; with a role, a batch norm follows."""

    width: int = rs.option(1, "Channels.")
    kernel: int = rs.option(3, "Height and width.")
    role: Role | None = rs.option(None, "The norm's.")


class Chain(rs.Architecture):
    """A chain of convolutions and norms of any widths."""

    class Options(rs.Options):
        layers: list[Layer] = rs.option([], "From the image to the classifier.")

    def build(self, shape, num_classes):
        layers, inputs = [], shape[0]
        for layer in self.options.layers:
            layers.append(nn.Conv2d(inputs, layer.width, layer.kernel, padding=layer.kernel // 2, bias=False))
            layers.append(mark(nn.BatchNorm2d(layer.width), layer.role) if layer.role else nn.ReLU())
            inputs = layer.width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class Plugin:
    @staticmethod
    @rs.hookimpl
    def register_architecture(register):
        register("chain", f"{__name__}:Chain")


REGISTRY = Registry([*installed_sources(), PluginSource("unseen", "tests", "1", lambda: Plugin)])


def sizes_of(architecture: str, defense: str, size: int, classes: int, **options: Any) -> dict[str, int]:
    name, chosen = DEFENSES[defense]
    network = REGISTRY.create("architecture", architecture, options)
    return sizes(REGISTRY.create("defense", name, chosen), network, (3, size, size), classes)


# Each network under each published defense, each number of classes for each network, and the defenses that add as many
# parameters as another on two networks.
@pytest.mark.parametrize(
    ("architecture", "defense", "classes"),
    dict.fromkeys(
        [
            *itertools.product(TEN_CLASSES, PUBLISHED, [10]),
            *itertools.product(TEN_CLASSES, ["oat 128"], [100, 200]),
            *((name, defense, classes) for defense in [*PUBLISHED, *SAME] for name, classes in MANY.items()),
        ]
    ),
)
def test_the_number_of_parameters_is_the_known_one(architecture, defense, classes):
    column = PUBLISHED.index(SAME.get(defense, defense))
    expected = TEN_CLASSES[architecture][column] + MORE[architecture][classes]
    assert sizes_of(architecture, defense, 8, classes)["parameters"] == expected


@pytest.mark.parametrize("classes", [10, 100, 200])
@pytest.mark.parametrize("defense", SLIM_RESNET34)
def test_the_slim_networks_have_the_known_number_of_parameters(defense, classes):
    expected = SLIM_RESNET34[defense] + MORE["resnet34"][classes]
    assert sizes_of("resnet34", defense, 8, classes)["parameters"] == expected


def test_switchable_batch_norm_alone_adds_the_norms_of_the_narrow_widths():
    with torch.device("meta"):
        plain = REGISTRY.create("architecture", "resnet34").build((3, 32, 32), 10)
        model = slim(plain, [0.5, 1.0], Condition("width"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 21_290_634


@pytest.mark.parametrize(("architecture", "size", "defense"), MACS)
def test_the_number_of_multiplications_is_the_known_one(architecture, size, defense):
    assert sizes_of(architecture, defense, size, 10)["macs"] == MACS[architecture, size, defense]


def test_the_family_name_is_the_same_network():
    assert sizes_of("wrn40_2", "none", 32, 10) == sizes_of("wrn-40-2", "none", 32, 10)


@settings(max_examples=6, deadline=None)  # Each counts all defenses, some of them in 20 draws an answer.
@given(
    layers=st.lists(
        st.builds(
            Layer,
            width=st.integers(1, 20).map(lambda half: 2 * half),
            kernel=st.sampled_from([1, 3]),
            role=st.sampled_from(["stem", "block", "shortcut", "final", None]),
        ),
        min_size=1,
        max_size=7,
    ).filter(lambda layers: any(layer.role for layer in layers)),
    classes=st.integers(2, 30),
    size=st.integers(1, 9),
)
def test_defenses_rewrite_an_architecture_they_have_never_seen(layers, classes, size):
    inputs = [3, *(layer.width for layer in layers)]
    convolutions = sum(before * layer.width * layer.kernel**2 for before, layer in zip(inputs, layers, strict=False))
    norms = sum(2 * layer.width for layer in layers if layer.role)
    plain = convolutions + norms + (inputs[-1] + 1) * classes
    film = {  # 4 C^2 + (2 d + 4) C behind each norm of stem and blocks
        dim: sum(
            4 * layer.width**2 + (2 * dim + 4) * layer.width for layer in layers if layer.role in ("stem", "block")
        )
        for dim in (1, 128)
    }
    multiplications = convolutions * size**2 + inputs[-1] * classes
    modulations = {  # a product for each weight of the two layers
        dim: sum(2 * dim * layer.width + 4 * layer.width**2 for layer in layers if layer.role in ("stem", "block"))
        for dim in (1, 128)
    }
    slim_norms = 2 * (norms + norms // 2)  # both branches at both widths
    dead = sum(
        before * layer.width * layer.kernel**2 - max(1, round(0.1 * before * layer.width * layer.kernel**2))
        for before, layer in zip(inputs, layers, strict=False)
    )
    floating = plain + norms + len(layers)
    random = min(max(round(0.75 * layers[0].width), 1), layers[0].width - 1)  # Filters of the first convolution.
    weights = convolutions + (inputs[-1] + 1) * classes
    expected = {
        "none": (plain, multiplications),
        "pgd_at": (plain, multiplications),
        "trades": (plain, multiplications),
        "mart": (plain, multiplications),
        "pni": (plain + len(layers) + 1, multiplications),
        "random_resize": (plain, convolutions * math.ceil(9 / 8 * size) ** 2 + inputs[-1] * classes),
        "input_noise": (plain, multiplications),
        "rse": (plain, 10 * multiplications),  # Ten draws an answer.
        "rpf": (plain - random * 3 * layers[0].kernel ** 2, multiplications),
        "adv_bnn": (plain + weights, 20 * multiplications),  # A deviation beside each mean, and 20 draws an answer.
        "advprop": (plain + norms, multiplications),
        "adapter_soup": (plain + norms, multiplications),
        "float": (floating, multiplications),
        "floats_sparse": (floating, multiplications),
        "floats": (plain - norms + slim_norms + len(layers), multiplications),
        "oat 1": (plain + norms + film[1], multiplications + modulations[1]),
        "oat 128": (plain + norms + film[128], multiplications + modulations[128]),
        "oats 1": (plain - norms + slim_norms + film[1], multiplications + modulations[1]),
        "oats 128": (plain - norms + slim_norms + film[128], multiplications + modulations[128]),
    }
    assert expected.keys() == DEFENSES.keys()
    for defense, (parameters, macs) in expected.items():
        counted = sizes_of("chain", defense, size, classes, layers=layers)
        nonzero = counted.pop("nonzero_parameters", parameters)
        assert counted == {"parameters": parameters, "macs": macs}
        assert nonzero == parameters - (dead if defense == "floats_sparse" else 0)


@pytest.mark.parametrize("defense", DEFENSES)
def test_an_unseen_architecture_runs_under_every_defense(defense):
    name, options = DEFENSES[defense]
    method = REGISTRY.create("defense", name, options)
    layers = [Layer(width=8, role="stem"), Layer(width=6, kernel=1, role="shortcut"), Layer(width=10)]
    network = REGISTRY.create("architecture", "chain", {"layers": layers})
    model = method.build(network, (3, 6, 6), 5).eval()
    assert method.deploy(model, method.operating_points()[-1])(torch.rand(2, 3, 6, 6)).shape == (2, 5)
