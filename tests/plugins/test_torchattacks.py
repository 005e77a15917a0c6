"""The torchattacks family: every class of the library accounted for, its options checked before any compute."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from typing import Any

import numpy
import pytest
import torch
import torchattacks
from torch import Tensor, nn
from torchattacks.attack import Attack

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import project
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack_plugins.torchattacks.table import (
    ATTACKS,
    EXCLUDED,
    GRADIENT_FREE,
    NORMS,
    SQUARE_IMAGES,
    SUPPLIED,
    THREE_CHANNELS,
)

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = rs.Threat(eps=0.1)
CHEAP = {"steps": 2, "num_iter_set": 2, "n_queries": 4, "nb_sample": 4, "noise_batch_size": 2}


def create(name: str, **options: object) -> rs.Attack:
    return REGISTRY.create("attack", f"torchattacks:{name}", options)


def cheap(name: str) -> rs.Attack:
    return create(name, **{key: value for key, value in CHEAP.items() if key in ATTACKS[name]})


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)
    return nn.Sequential(*layers).eval()


def images(channels: int = 3) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.rand(6, channels, 8, 8, generator=source).to(memory_format=torch.channels_last)
    return x, torch.randint(5, (6,), generator=source)


def library() -> dict[str, type[Attack]]:
    """Every attack class of the library's own modules, exported or not."""
    modules = [
        importlib.import_module(module.name)
        for package in ("attacks", "wrappers")
        for module in pkgutil.iter_modules(
            importlib.import_module(f"torchattacks.{package}").__path__, f"torchattacks.{package}."
        )
    ]
    return {
        name: cls
        for module in modules
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Attack) and cls.__module__ == module.__name__
    }


# The table


def test_every_attack_of_the_library_is_offered_or_excluded_with_a_reason():
    assert library().keys() >= {"PGD", "CW", "MultiAttack"}
    assert library().keys() == ATTACKS.keys() | EXCLUDED.keys()
    assert not ATTACKS.keys() & EXCLUDED.keys()
    assert all(EXCLUDED.values())


@pytest.mark.parametrize("name", ATTACKS)
def test_the_table_has_the_librarys_options_and_defaults(name):
    parameters = inspect.signature(library()[name]).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items() if key not in SUPPLIED}
    assert {
        key: option[0] if isinstance(option, tuple) else option for key, option in ATTACKS[name].items()
    } == defaults
    assert create(name).options.resolved() == {"attack": name, **defaults}


@pytest.mark.parametrize(("name", "key"), [(a, b) for a, row in ATTACKS.items() for b in row if type(row[b]) is tuple])
def test_the_library_knows_the_choices_of_an_option(name, key):
    x, y = images()
    for choice in ATTACKS[name][key]:
        adversarial = create(name, **{key: choice}).perturb(
            AttackedModel(View(network()), RUNTIME), x, y, THREAT, generator(x.device, 0)
        )
        assert adversarial.shape == x.shape


# What is refused


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("PDG", {}, "attack 'torchattacks:PDG': torchattacks has no 'PDG': did you mean 'PGD'"),
        (
            "GN",
            {},
            "attack 'torchattacks:GN': torchattacks.GN is not offered: Gaussian noise without a radius; use noise",
        ),
        ("PGD", {"stepz": 3}, "attack 'torchattacks:PGD': unknown key 'stepz': did you mean 'steps'?"),
        ("PGD", {"eps": 0.1}, "attack 'torchattacks:PGD': 'eps' is no option: the radius is the threat model's"),
        ("APGD", {"seed": 1}, "attack 'torchattacks:APGD': 'seed' is no option: the seeds are the suite's"),
        ("PGD", {"steps": 0}, "attack 'torchattacks:PGD': steps: must be greater than or equal to 1, not 0"),
        ("PGD", {"random_start": 1}, "attack 'torchattacks:PGD': random_start: must be true or false, not 1"),
        ("APGD", {"loss": "cw"}, "attack 'torchattacks:APGD': loss: must be 'ce' or 'dlr', not 'cw'"),
        ("PGD", {"alpha": -0.02}, "attack 'torchattacks:PGD': alpha: must be greater than 0, not -0.02"),
        ("MIFGSM", {"decay": -3}, "attack 'torchattacks:MIFGSM': decay: must be greater than or equal to 0, not -3"),
        (
            "DIFGSM",
            {"diversity_prob": 2},
            "attack 'torchattacks:DIFGSM': diversity_prob: must be less than or equal to 1, not 2",
        ),
        ("PGD", {"attack": "FGSM"}, "attack 'torchattacks:PGD': option 'attack' is 'PGD' by its name"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, options, message):
    with pytest.raises(rs.PluginError) as caught:
        create(name, **options)
    assert str(caught.value).startswith(message)


def test_a_step_longer_than_a_pixel_is_refused_for_linf_alone():
    with pytest.raises(ValueError, match=r"alpha: 2 is outside \(0, 1\], the range of a pixel \(was 2/255 meant\?\)"):
        create("PGD", alpha=2).check_threat(rs.Threat(eps=0.1))
    create("PGDL2", alpha=2).check_threat(rs.Threat(norm="l2", eps=5))


@pytest.mark.parametrize("written", ["torchattacks:PDG", "{name: 'torchattacks:PGD', options: {stepz: 1}}"])
def test_a_suite_says_where(small_suite, written):
    text = small_suite.read_text().replace("attacks: [fgsm,", f"attacks: [{written},")
    small_suite.write_text(text)
    line = text[: text.index(written)].count("\n") + 1
    with pytest.raises(SuiteError, match=rf"small.yaml:{line}.*did you mean"):
        make_plan(load_suite(small_suite), REGISTRY, Hardware("cpu", "float32"))


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(rs.PluginError) as caught:
        create("PGD")
    install = "python -m pip install 'robuststack[torchattacks]'"
    assert str(caught.value) == f"attack 'torchattacks:PGD' needs the torchattacks library: {install}"


@pytest.mark.parametrize("name", sorted(THREE_CHANNELS))
def test_attacks_whose_kernels_have_three_channels_say_so(name):
    x, y = images(channels=1)
    with pytest.raises(rs.PluginError, match=f"'torchattacks:{name}' knows images of 3 channels only, not of 1"):
        cheap(name).perturb(AttackedModel(View(network(1)), RUNTIME), x, y, THREAT, generator(x.device, 0))


@pytest.mark.parametrize(("name", "options", "least"), [("PGD", {}, 2), ("APGD", {"loss": "dlr"}, 3), ("APGDT", {}, 4)])
def test_the_ratio_of_logits_needs_classes(name, options, least):
    assert create(name, **options).min_classes == least


# What it does


def threats(name: str) -> list[rs.Threat]:
    return [rs.Threat(norm=norm, eps={"linf": 0.1, "l2": 0.8}[norm]) for norm in cheap(name).norms]


def in_ball(adversarial: list[Tensor], x: Tensor, threat: rs.Threat) -> None:
    assert adversarial[0].shape == x.shape
    assert not adversarial[0].requires_grad
    assert torch.equal(*adversarial), "its random numbers come from the generator"
    assert float((project(adversarial[0], x, threat) - adversarial[0]).abs().max()) <= 1e-6


def test_each_attack_is_offered_for_the_norms_that_it_has():
    assert NORMS.keys() <= ATTACKS.keys()
    for name in ATTACKS:
        parameters = inspect.signature(library()[name]).parameters
        expected = ("linf", "l2") if "norm" in parameters else ("l2",) if name.endswith("L2") else None
        assert cheap(name).norms == (expected or (("l2",) if name in ("CW", "DeepFool") else ("linf",)))


@pytest.mark.parametrize("name", ["CW", "DeepFool"])
def test_what_an_attack_without_a_radius_finds_outside_is_moved_onto_the_ball(name):
    model, (x, y) = network(), images()
    y = model(x).argmax(1)
    far, near = (
        create(name).perturb(
            AttackedModel(View(model), RUNTIME), x, y, rs.Threat(norm="l2", eps=eps), generator(x.device, 0)
        )
        for eps in (100.0, 0.01)
    )
    assert bool((model(far).argmax(1) != y).any())
    lengths = [(adversarial - x).flatten(1).norm(dim=1) for adversarial in (far, near)]
    assert float(lengths[1].max()) <= 0.01 + 1e-5
    outside = lengths[0] > 0.01
    assert bool(outside.any())
    assert float(lengths[1][outside].min()) > 0.009


@pytest.mark.parametrize("name", sorted(SQUARE_IMAGES))
def test_attacks_that_make_images_square_are_refused_for_others_before_any_compute(name, tmp_path):
    x, y = torch.rand(2, 3, 8, 10), torch.tensor([0, 1])
    model = AttackedModel(View(nn.Sequential(nn.Flatten(), nn.Linear(240, 5))), RUNTIME)
    with pytest.raises(rs.PluginError, match=f"'torchattacks:{name}' knows square images only, not of 8 x 10"):
        cheap(name).perturb(model, x, y, THREAT, generator(x.device, 0))
    numpy.savez(tmp_path / "wide.npz", x_train=numpy.zeros((20, 3, 8, 10), "uint8"), y_train=numpy.arange(20) % 2,
                x_test=numpy.zeros((4, 3, 8, 10), "uint8"), y_test=numpy.arange(4) % 2)  # fmt: skip
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"datasets: {{name: npz, options: {{path: {tmp_path / 'wide.npz'}}}}}\narchitectures: resnet8\n"
                     f"train: {{batch_size: 2}}\ndefenses: none\nattacks: ['torchattacks:{name}']\n")  # fmt: skip
    with pytest.raises(
        rs.RobustStackError, match=rf"suite.yaml:5:11: attack 'torchattacks:{name}': knows square images"
    ):
        make_plan(load_suite(suite), Registry(), Hardware("cpu", "float32"))


@pytest.mark.parametrize(
    ("name", "channels"),
    [*((attack, 3) for attack in ATTACKS), *((attack, 1) for attack in ATTACKS if attack not in THREE_CHANNELS)],
)
def test_each_attack_stays_in_the_ball_and_leaves_the_model_alone(name, channels):
    model, (x, y) = network(channels), images(channels)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    given_x, given_y = x.clone(), y.clone()
    for threat in threats(name):
        with frozen_eval(model):
            attacked = AttackedModel(View(model), RUNTIME)
            adversarial = [cheap(name).perturb(attacked, x, y, threat, generator(x.device, 0)) for _ in range(2)]
            assert not any(module.training for module in attacked.modules())
        in_ball(adversarial, x, threat)
    assert torch.equal(x, given_x)
    assert torch.equal(y, given_y)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_says_whether_it_needs_gradients(name):
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()
            self.differentiated = False

        def forward(self, x: Tensor) -> Tensor:
            self.differentiated |= x.requires_grad
            return self.network(x)

    model, (x, y) = Counting().eval(), images()
    attack = cheap(name)
    with frozen_eval(model):
        attack.perturb(AttackedModel(View(model), RUNTIME), x, y, THREAT, generator(x.device, 0))
    assert attack.needs_gradients == model.differentiated == (name not in GRADIENT_FREE)
    assert attack.image_passes(False) > 0


def test_the_options_reach_the_library(monkeypatch):
    seen: dict[str, Any] = {}
    original = torchattacks.PGD.__init__

    def spy(self: Any, model: nn.Module, **options: Any) -> None:
        seen.update(options)
        original(self, model, **options)

    monkeypatch.setattr(torchattacks.PGD, "__init__", spy)
    # A wrapped signature is the wrapper's; the attack asks for the names it knows.
    monkeypatch.setattr(spy, "__signature__", inspect.signature(original), raising=False)
    x, y = images()
    attack = create("PGD", steps=3, alpha="1/255")
    attack.perturb(AttackedModel(View(network()), RUNTIME), x, y, THREAT, generator(x.device, 0))
    assert seen == {"eps": 0.1, "steps": 3, "alpha": 1 / 255, "random_start": True}
    assert attack.figures(THREAT, False) == {"attack": "PGD", "draws": 1, **seen}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_protocols_draws_are_those_of_the_attacks_that_average(name: str) -> None:
    attack = create(name)
    other = attack.with_draws(7)
    if "eot_iter" not in ATTACKS[name]:
        assert other is attack
        return
    assert other.options.resolved() == {**attack.options.resolved(), "eot_iter": 7}
    assert (other.name, other.distribution) == (attack.name, attack.distribution)
    assert attack.options.resolved()["eot_iter"] != 7
