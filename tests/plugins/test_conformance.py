"""Every built-in component keeps its contract: the public kit, and what holds for the built-ins beyond it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from PIL import Image

import robuststack as rs
from robuststack.plugin.registry import Registry
from robuststack.testing import DefenseConformance, conformance

REGISTRY = Registry()
OURS = "robuststack"
ALL = [registration for registration in REGISTRY if registration.distribution == OURS]
FAMILIES = {
    "wrn-D-K": "wrn-10-1",
    "torchvision:NAME": "torchvision:resnet18",
    "timm:NAME": "timm:resnet10t",
    "torchattacks:NAME": "torchattacks:PGD",
    "corruption:NAME": "corruption:gaussian_noise",
    "robustbench:MODEL": "robustbench:Standard",
}
OWN_DATA: dict[str, dict[str, Any]] = {"npz": {}, "folder": {}}
"""Filled in before the first check: they read what a user brings."""
QUICK: dict[str, dict[str, Any]] = {
    "oat": {"dim": 4},
    "oats": {"dim": 4},
    "solar": {"dim": 4},
    "pni": {"warmup_epochs": 0},
    "tradeoff": {"images": 60, "test_images": 20, "size": 8},
    "noise": {"samples": 2},
    **OWN_DATA,
}
"""Options that make a component quick; none changes what it has to keep."""
PAPERLESS = {"none", "folder", "npz"}
"""What is nobody's method or data set."""
TWO_NETWORKS = {"logit_mix", "mixed_nuts", "weight_mix"}
"""Defenses that deploy one of their networks, or both: their own tests count them."""
KITS = conformance(OURS, options=QUICK, members=FAMILIES)
TRAINED = [kit for kit in KITS.values() if issubclass(kit, DefenseConformance)]
globals().update(KITS)


@pytest.fixture(scope="module", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data for the data sets that users bring."""
    random = np.random.RandomState(0)
    images, labels = random.randint(256, size=(40, 3, 8, 8)).astype(np.uint8), np.arange(40) % 2
    root = tmp_path_factory.mktemp("own")
    np.savez(root / "own.npz", x_train=images[:20], y_train=labels[:20], x_test=images[20:], y_test=labels[20:])
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "own" / ("train" if number < 20 else "test") / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    OWN_DATA["npz"].update(path=str(root / "own.npz"))
    OWN_DATA["folder"].update(path=str(root / "own"), size=8)


def test_nothing_that_is_built_in_is_broken():
    assert ALL
    assert not [broken for broken in REGISTRY.broken if broken.distribution.startswith(OURS)]


def test_every_built_in_component_is_checked_by_the_public_kit():
    assert {(kit.kind, kit.component) for kit in KITS.values()} == {
        (registration.kind, FAMILIES.get(registration.name, registration.name)) for registration in ALL
    }


@pytest.mark.parametrize("registration", ALL, ids=lambda registration: f"{registration.kind}-{registration.name}")
def test_every_method_says_where_it_is_from(registration):
    assert registration.load().paper or registration.name in PAPERLESS


@pytest.mark.parametrize(
    "kit", [kit for kit in TRAINED if kit.component not in TWO_NETWORKS], ids=lambda kit: kit.component
)
def test_every_weight_of_a_built_in_defense_is_stored_at_every_point(kit):
    defense, model = kit.defense(), kit.build()
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert {defense.parameters(model, defense.setting(point)) for point in kit.points()} == {expected}


@pytest.mark.parametrize("kit", TRAINED, ids=lambda kit: kit.component)
def test_no_two_points_of_a_built_in_defense_are_one_setting(kit):
    settings = [str(kit.defense().setting(point).resolved()) for point in kit.points()]
    assert len(set(settings)) == len(settings)


@pytest.mark.parametrize("kit", TRAINED, ids=lambda kit: kit.component)
def test_the_work_of_a_training_step_grows_with_its_attack(kit):
    trainers = [phase.trainer for phase in kit.phases(kit.defense())]
    passes = [sum(trainer.image_passes(steps) for trainer in trainers) for steps in (0, 1, 7)]
    assert all(forward >= 3 for forward in passes)
    # At lambda 0 no image is attacked in training.
    unattacked = kit.defense().undefended or getattr(kit.defense().options, "lambda_", None) == 0
    assert unattacked or passes == sorted(set(passes))


def test_no_method_of_a_component_takes_a_name_it_should_dispatch_on():
    """Components are told settings and threats; none is told who calls it."""
    for cls in (rs.Architecture, rs.Attack, rs.Dataset, rs.Defense):
        methods = [method for _, method in inspect.getmembers(cls, inspect.isfunction)]
        assert not any("name" in inspect.signature(method).parameters for method in methods)
