"""Every registered component keeps its contract, whatever it does inside."""

from __future__ import annotations

import copy
import inspect
import math
import random
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.attack import still
from robuststack.engine.device import Fast, Runtime, generator, seeded
from robuststack.engine.measure import blueprint
from robuststack.hardware import Hardware
from robuststack.layers.roles import norms, role_of
from robuststack.options import describe, marked, parse
from robuststack.registry import Registry

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
OURS = "robuststack"
SHAPE, CLASSES, BATCH = (3, 8, 8), 4, 8
ALL = [one for one in REGISTRY if one.distribution == OURS]
FAMILIES = {
    "wrn-D-K": "wrn-10-1",
    "torchvision:NAME": "torchvision:resnet18",
    "timm:NAME": "timm:resnet10t",
    "torchattacks:NAME": "torchattacks:PGD",
    "robustbench:MODEL": "robustbench:Standard",
}
SMALL: dict[str, dict[str, Any]] = {
    "oat": {"dim": 4},
    "oats": {"dim": 4},
    "pni": {"warmup_epochs": 0},
    "tradeoff": {"images": 60, "test_images": 20, "size": 8},
    "noise": {"samples": 2},
}
"""Options that make a component quick; none changes what it has to keep."""
COLOUR_ONLY = {"torchvision:NAME"}
THREAT = rs.Threat(eps=0.1)
PAPERLESS = {"none", "folder", "npz"}
"""What is nobody's method or data set."""
LOCAL = [name for name in REGISTRY.names("dataset") if not REGISTRY.create("dataset", name).downloads()]


@pytest.fixture(scope="module", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data for the data sets that users bring."""
    random = np.random.RandomState(0)
    images, labels = random.randint(256, size=(20, 3, 8, 8)).astype(np.uint8), np.arange(20) % 2
    root = tmp_path_factory.mktemp("own")
    np.savez(root / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        for part in ("train", "test"):
            folder = root / "own" / part / f"class {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    SMALL["npz"] = {"path": str(root / "own.npz")}
    SMALL["folder"] = {"path": str(root / "own"), "size": 8}


def names(kind: str) -> list[str]:
    """What is registered, without the defenses that load a finished model of their own."""
    return [one.name for one in ALL if one.kind == kind and getattr(one.load(), "trains", True)]


def create(kind: str, name: str) -> Any:
    name = FAMILIES.get(name, name)
    cheap = marked(REGISTRY.find(kind, name).load().Options, "smoke") if kind == "attack" else {}
    return REGISTRY.create(kind, name, {**cheap, **SMALL.get(name, {})})


@cache
def model_of(defense: str) -> nn.Module:
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    return models.build(create("defense", defense), architecture, SHAPE, CLASSES, 0)


def images(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, *SHAPE, generator=source), torch.randint(CLASSES, (BATCH,), generator=source)


def points(defense: rs.Defense) -> list[dict[str, Any]]:
    return [parse(type(defense).Knobs, point).resolved() for point in defense.operating_points()]


def trained_once(name: str) -> nn.Module:
    """The model after a training step, so that no two branches or layers are alike by chance."""
    defense, model = create("defense", name), copy.deepcopy(model_of(name))
    optimizer = training.begin(defense, model, training.Recipe(lr=0.05)).optimizer
    one_step(defense, model)
    optimizer.step()
    return model.eval()


def one_step(defense: rs.Defense, model: nn.Module) -> None:
    attack = REGISTRY.create("attack", "pgd", {"steps": 2, "draws": 1})
    step = training.Step(model.train(), attack, THREAT, RUNTIME, 1, 0)
    step.begin(*images(), 0, 0)
    torch.manual_seed(0)
    defense.training_step(step)


# Every component


def test_nothing_that_is_built_in_is_broken():
    assert ALL
    assert not [one for one in REGISTRY.broken if one.distribution.startswith(OURS)]


@pytest.mark.parametrize("registration", ALL, ids=lambda one: f"{one.kind}-{one.name}")
def test_every_component_says_what_it_is(registration):
    component = create(registration.kind, registration.name)
    assert type(component).__doc__
    assert component.summary().endswith(".")
    assert registration.kind == component.kind
    assert component.paper or component.name in PAPERLESS


@pytest.mark.parametrize("registration", ALL, ids=lambda one: f"{one.kind}-{one.name}")
def test_every_option_has_a_type_a_default_and_a_description(registration):
    cls = registration.load()
    models = [cls.Options, *([cls.Knobs] if issubclass(cls, rs.Defense) else [])]
    for one in (row for model in models for row in describe(model)):
        assert one["description"].endswith("."), one["name"]
        assert one["default"] != "(required)", one["name"]
        assert one["type"] not in ("any", ""), one["name"]


@pytest.mark.parametrize("registration", ALL, ids=lambda one: f"{one.kind}-{one.name}")
def test_a_component_can_be_made_again_from_what_a_job_holds_of_it(registration):
    component = create(registration.kind, registration.name)
    held = component.resolved()
    options = {**held["options"], **held.get("places", {})}
    assert REGISTRY.create(registration.kind, held["name"], options).resolved() == held


# Architectures


@pytest.mark.parametrize("name", names("architecture"))
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 16, 24)])
def test_an_architecture_takes_any_image_or_refuses_it_and_marks_its_norms(name, shape):
    architecture = create("architecture", name)
    with torch.device("meta"):
        if name in COLOUR_ONLY and shape[0] != 3:
            with pytest.raises(rs.PluginError, match=f"takes images of 3 channels, not {shape[0]}"):
                architecture.build(shape, 7)
            return
        model = architecture.build(shape, 7)
        assert model(torch.rand(2, *shape)).shape == (2, 7)
    found = [role_of(norm) for _, norm in norms(model)]
    assert found
    assert "stem" in found or "final" in found
    assert "block" in found


# Defenses


@pytest.mark.parametrize("name", names("defense"))
def test_a_defense_maps_images_to_logits_at_every_point(name):
    defense, x = create("defense", name), images()[0]
    model = model_of(name).eval()
    assert points(defense)
    for point in points(defense):
        defense.check_point(point)
        view = defense.deploy(model, point)
        logits = view(x)
        assert logits.shape == (BATCH, CLASSES)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()
        assert view.stochastic == defense.setting(point).stochastic


@pytest.mark.parametrize("name", names("defense"))
def test_points_differ_where_their_settings_do_and_are_random_where_they_say_so(name):
    defense, model, x = create("defense", name), trained_once(name), images()[0]
    settings_ = [defense.setting(point) for point in points(defense)]
    assert len({str(one.resolved()) for one in settings_}) == len(settings_)
    outputs = []
    for setting in settings_:
        view = defense.view(model, setting)
        torch.manual_seed(0)
        outputs.append(view(x))
        assert torch.equal(outputs[-1], view(x)) != setting.stochastic
    assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


@pytest.mark.parametrize("name", names("defense"))
def test_gradients_reach_every_parameter(name):
    defense, model = create("defense", name), copy.deepcopy(model_of(name))
    one_step(defense, model)
    missing = [path for path, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert missing == []


@pytest.mark.parametrize("name", names("defense"))
def test_the_optimiser_gets_every_parameter_once(name):
    defense, model = create("defense", name), model_of(name)
    found = [id(one) for group in defense.parameter_groups(model, 0.1) for one in group["params"]]
    assert sorted(found) == sorted(id(one) for one in model.parameters())


@pytest.mark.parametrize("name", names("defense"))
def test_every_point_shares_the_weights(name):
    defense, model = create("defense", name), copy.deepcopy(model_of(name)).eval()
    own = {id(one) for one in model.parameters()}
    for point in points(defense):
        assert {id(one) for one in defense.deploy(model, point).parameters()} == own


@pytest.mark.parametrize("name", names("defense"))
def test_a_frozen_point_owns_a_deterministic_copy(name):
    defense, model, x = create("defense", name), trained_once(name), images()[0]
    for point in points(defense):
        before = copy.deepcopy(model.state_dict())
        frozen = defense.deploy(model, point, frozen=True)
        assert not ({id(one) for one in frozen.parameters()} & {id(one) for one in model.parameters()})
        expected = frozen(x)
        assert torch.equal(frozen(x), expected)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        with torch.no_grad():
            for parameter in copy.deepcopy(model).parameters():
                parameter.zero_()
        assert torch.equal(frozen(x), expected)
        if not defense.setting(point).stochastic:
            assert torch.equal(defense.deploy(model, point)(x), expected)


@pytest.mark.parametrize("name", names("defense"))
def test_a_model_survives_a_file_and_loads_strictly(name):
    defense, model, x = create("defense", name), trained_once(name), images()[0]
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    other = models.build(defense, architecture, SHAPE, CLASSES, 1).eval()
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)), strict=True)
    for point in points(defense):
        outputs = []
        for one in (model, other):
            torch.manual_seed(0)
            outputs.append(defense.deploy(one, point)(x))
        assert torch.equal(*outputs)


@pytest.mark.parametrize("name", names("defense"))
def test_every_point_can_be_scored_adaptively_and_runs_from_json(name):
    defense = create("defense", name)
    for point in points(defense):
        setting = defense.setting(point)
        assert defense.protocols(point)["adaptive"] == rs.Scoring(setting, setting, setting)
        for scoring in defense.protocols(point).values():
            for one in (scoring.clean, scoring.attacker, scoring.victim):
                defense.view(model_of(name), rs.Setting(**one.resolved()))


@pytest.mark.parametrize("name", names("defense"))
def test_parameters_are_those_of_the_model(name):
    defense, model = create("defense", name), model_of(name)
    expected = sum(one.numel() for one in model.parameters())
    assert {defense.parameters(model, defense.setting(point)) for point in points(defense)} == {expected}


@pytest.mark.parametrize("name", names("defense"))
def test_what_is_fixed_at_zero_is_known_before_training(name):
    defense, model = create("defense", name), trained_once(name)
    defense.after_step(model, training.begin(defense, model, training.Recipe()).optimizer)
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    unfilled = blueprint(defense, architecture, SHAPE, CLASSES)
    # Every weight has been moved but those that may not move; a bias or a branch that has not begun may still be zero.
    zeros = sum(int((one == 0).sum()) for one in model.parameters() if one.dim() == 4)
    for point in points(defense):
        setting = defense.setting(point)
        assert defense.nonzero_parameters(unfilled, setting) == defense.parameters(model, setting) - zeros


@pytest.mark.parametrize("name", names("defense"))
def test_what_a_defense_shows_of_its_model_is_numbers(name):
    defense, model = create("defense", name), trained_once(name)
    for title, values in defense.inspect(model).items():
        assert title
        assert values
        assert all(math.isfinite(one) for one in values.values())


@pytest.mark.parametrize("name", names("defense"))
def test_the_work_of_a_training_step_grows_with_its_attack(name):
    defense = create("defense", name)
    passes = [defense.image_passes(steps) for steps in (0, 1, 7)]
    assert all(one >= 3 for one in passes)
    assert name == "none" or passes == sorted(set(passes))


@pytest.mark.parametrize("name", names("defense"))
def test_a_defense_refuses_knobs_it_does_not_have(name):
    with pytest.raises(rs.PluginError, match="unknown key 'flux'"):
        parse(type(create("defense", name)).Knobs, {"flux": 1})


# Datasets


@pytest.mark.parametrize("name", names("dataset"))
def test_a_dataset_declares_itself_without_reading(name):
    dataset = create("dataset", name)
    assert len(dataset.shape) == 3
    assert dataset.num_classes >= 2
    assert dataset.fingerprint
    assert 0 < dataset.eps <= 1
    assert all(dataset.size(split) > 0 for split in ("train", "validation", "test"))
    for one in dataset.downloads():
        # Some servers speak no https: what arrives is known by its hash.
        assert one.url.startswith(("https://", "http://"))
        assert one.hash.partition(":")[2]


@pytest.mark.parametrize("name", [one for one in names("dataset") if one in LOCAL])
def test_a_dataset_is_what_it_declares(name, tmp_path):
    dataset = create("dataset", name)
    splits = dataset.load(tmp_path)
    assert splits.keys() == {"train", "validation", "test"}
    for split, one in splits.items():
        assert one.images.shape == (dataset.size(split), *dataset.shape)
        assert one.labels.shape == (dataset.size(split),)
        assert one.images.dtype in (np.uint8, np.float32)
        assert one.images.max() <= (255 if one.images.dtype == np.uint8 else 1)
        assert one.images.min() >= 0
        assert set(one.labels.tolist()) <= set(range(dataset.num_classes))


# Attacks


@pytest.mark.parametrize("name", names("attack"))
@settings(max_examples=10, deadline=None)
@given(eps=st.floats(1e-3, 1.0), stochastic=st.booleans())
def test_an_attack_stays_in_the_ball_and_leaves_the_model_alone(name, eps, stochastic):
    attack, threat, (x, y) = create("attack", name), rs.Threat(eps=eps), images()
    model = copy.deepcopy(model_of("float")).eval()
    defense = REGISTRY.create("defense", "float")
    view = defense.deploy(model, {"lambda_n": float(stochastic), "lambda_th": 0.0})
    given_x, state = x.clone(), copy.deepcopy(model.state_dict())
    with still(view):
        found = attack.perturb(Fast(view, RUNTIME), x, y, threat, generator(x.device, 0))
        assert not any(one.requires_grad for one in model.parameters())
    assert torch.equal(x, given_x)
    assert found.shape == x.shape
    assert float((found - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", names("attack"))
@pytest.mark.parametrize("stochastic", [True, False])
def test_an_attack_is_reproducible_and_prints_nothing(name, stochastic, capfd):
    attack, (x, y) = create("attack", name), images()
    view = REGISTRY.create("defense", "float").deploy(trained_once("float"), {"lambda_n": 1.0, "lambda_th": 0.0})
    view.stochastic = stochastic
    found = []
    for seed in (0, 0, 1):
        with seeded(x.device, "test"):
            found.append(attack.perturb(Fast(view, RUNTIME), x, y, THREAT, generator(x.device, seed)))
    assert torch.equal(found[0], found[1])
    random.seed(0)
    states = random.getstate(), np.random.get_state()[1].tolist()
    with still(view):
        attack.perturb(Fast(view, RUNTIME), x, y, THREAT, generator(x.device, 0))
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    assert capfd.readouterr() == ("", ""), "an attack prints nothing"


@pytest.mark.parametrize("name", names("attack"))
def test_an_attack_says_whether_it_needs_gradients(name):
    attack, (x, y) = create("attack", name), images()

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model_of("none").eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return self.network(x)

    with still(Blind()), nullcontext() if not attack.needs_gradients else pytest.raises(RuntimeError, match="grad"):
        attack.perturb(Fast(Blind(), RUNTIME), x, y, THREAT, generator(x.device, 0))


@pytest.mark.parametrize("name", names("attack"))
@pytest.mark.parametrize("stochastic", [True, False])
def test_an_attack_prints_its_figures(name, stochastic):
    attack = create("attack", name)
    figures = attack.figures(THREAT, stochastic)
    assert figures["eps"] == THREAT.eps
    assert all(isinstance(one, (int, float, str)) for one in figures.values())
    assert attack.label
    assert math.isfinite(attack.image_passes(stochastic))
    assert attack.image_passes(stochastic) >= 0


def test_no_method_of_a_component_takes_a_name_it_should_dispatch_on():
    """Components are told settings and threats; none is told who calls it."""
    for cls in (rs.Architecture, rs.Attack, rs.Dataset, rs.Defense):
        methods = [one for _, one in inspect.getmembers(cls, inspect.isfunction)]
        assert not any("name" in inspect.signature(one).parameters for one in methods)
