"""Parameters and multiply-accumulates, to the last one: the published architectures, and one that no defense has seen."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import robuststack as rs
from robuststack.engine.counting import sizes
from robuststack.layers.roles import mark
from robuststack.registry import Registry, Source, installed_sources

DEFENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "pgd_at": ("pgd_at", {}),
    "float": ("float", {}),
    "oat 1": ("oat", {"dim": 1}),
    "oat 128": ("oat", {"dim": 128}),
}
TEN_CLASSES = {
    "resnet34": (21_282_122, 21_282_122, 21_299_182, 31_421_002, 33_355_466),
    "wrn40_2": (2_243_546, 2_243_546, 2_248_994, 3_232_090, 3_886_394),
    "wrn16_8": (10_961_370, 10_961_370, 10_968_586, 15_444_570, 16_228_922),
    "resnet20": (269_722, 269_722, 271_117, 405_274, 580_026),
}
MORE = {  # classes -> what the classifier grows by
    "resnet34": {10: 0, 100: 46_170, 200: 97_470},
    "wrn40_2": {10: 0, 100: 11_610, 200: 24_510},
    "wrn16_8": {10: 0, 100: 46_170, 200: 97_470},
    "resnet20": {10: 0, 100: 5_850, 200: 12_350},
}
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
        for one in self.options.layers:
            layers.append(nn.Conv2d(inputs, one.width, one.kernel, padding=one.kernel // 2, bias=False))
            layers.append(mark(nn.BatchNorm2d(one.width), one.role) if one.role else nn.ReLU())
            inputs = one.width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


class Plugin:
    @staticmethod
    @rs.hookimpl
    def register_architecture(register):
        register("chain", f"{__name__}:Chain")


REGISTRY = Registry([*installed_sources(), Source("unseen", "tests", "1", lambda: Plugin)])


def found(architecture: str, defense: str, size: int, classes: int, **options: Any) -> dict[str, int]:
    name, chosen = DEFENSES[defense]
    network = REGISTRY.create("architecture", architecture, options)
    return sizes(REGISTRY.create("defense", name, chosen), network, (3, size, size), classes)


@pytest.mark.parametrize("classes", [10, 100, 200])
@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("architecture", TEN_CLASSES)
def test_the_number_of_parameters_is_the_known_one(architecture, defense, classes):
    expected = TEN_CLASSES[architecture][list(DEFENSES).index(defense)] + MORE[architecture][classes]
    counted = found(architecture, defense, 8, classes)
    assert counted["parameters"] == expected
    assert counted.keys() == {"parameters", "macs"}, "no parameter is fixed at zero"


@pytest.mark.parametrize(("architecture", "size", "defense"), MACS)
def test_the_number_of_multiplications_is_the_known_one(architecture, size, defense):
    assert found(architecture, defense, size, 10)["macs"] == MACS[architecture, size, defense]


def test_the_family_name_is_the_same_network():
    assert found("wrn40_2", "none", 32, 10) == found("wrn-40-2", "none", 32, 10)


@settings(max_examples=15, deadline=None)
@given(
    layers=st.lists(
        st.builds(
            Layer,
            width=st.integers(1, 40),
            kernel=st.sampled_from([1, 3]),
            role=st.sampled_from(["stem", "block", "shortcut", "final", None]),
        ),
        min_size=1,
        max_size=7,
    ).filter(lambda layers: any(one.role for one in layers)),
    classes=st.integers(2, 30),
    size=st.integers(1, 9),
)
def test_defenses_rewrite_an_architecture_they_have_never_seen(layers, classes, size):
    inputs = [3, *(one.width for one in layers)]
    convolutions = sum(before * one.width * one.kernel**2 for before, one in zip(inputs, layers, strict=False))
    norms = sum(2 * one.width for one in layers if one.role)
    plain = convolutions + norms + (inputs[-1] + 1) * classes
    film = {  # 4 C^2 + (2 d + 4) C behind each norm of stem and blocks
        dim: sum(4 * one.width**2 + (2 * dim + 4) * one.width for one in layers if one.role in ("stem", "block"))
        for dim in (1, 128)
    }
    multiplications = convolutions * size**2 + inputs[-1] * classes
    modulations = {  # a product for each weight of the two layers
        dim: sum(2 * dim * one.width + 4 * one.width**2 for one in layers if one.role in ("stem", "block"))
        for dim in (1, 128)
    }
    expected = {
        "none": (plain, multiplications),
        "pgd_at": (plain, multiplications),
        "float": (plain + norms + len(layers), multiplications),
        "oat 1": (plain + norms + film[1], multiplications + modulations[1]),
        "oat 128": (plain + norms + film[128], multiplications + modulations[128]),
    }
    assert expected.keys() == DEFENSES.keys()
    for defense, (parameters, macs) in expected.items():
        assert found("chain", defense, size, classes, layers=layers) == {"parameters": parameters, "macs": macs}


@pytest.mark.parametrize("defense", DEFENSES)
def test_an_unseen_architecture_runs_under_every_defense(defense):
    name, options = DEFENSES[defense]
    method = REGISTRY.create("defense", name, options)
    layers = [Layer(width=7, role="stem"), Layer(width=5, kernel=1, role="shortcut"), Layer(width=9)]
    network = REGISTRY.create("architecture", "chain", {"layers": layers})
    model = method.build(network, (3, 6, 6), 5).eval()
    assert method.deploy(model, method.operating_points()[-1])(torch.rand(2, 3, 6, 6)).shape == (2, 5)
