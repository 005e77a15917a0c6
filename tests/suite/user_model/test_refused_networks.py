"""Networks that could not be evaluated are refused when they are called, before any compute."""

from __future__ import annotations

import pytest

import robuststack as rs
from robuststack.errors import ModelError
from user_models import NETWORK, SUITE, module, weights

RETURNS = """
import torch
from torch import nn
class Net(nn.Module):
    def forward(self, x):
        y = x.mean((1, 2, 3))[:, None] * torch.tensor([[1.0, -1.0, 2.0, 0.5]])
        return RESULT
"""
FUNCTIONS = {
    "raises": "def make():\n    raise OSError('no weights\\nat all')\n",
    "exits": "import sys\ndef make():\n    sys.exit(3)\n",
    "returns nothing": "def make():\n    pass\n",
    "returns a tuple": "def make():\n    return (1, 2)\n",
    "cannot be imported": "import absent_thing\ndef make():\n    pass\n",
    "is not there": "def other():\n    pass\n",
}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raises", "cannot be made: OSError: no weights at all"),
        ("exits", "cannot be made: SystemExit: 3"),
        ("returns nothing", "gives NoneType; valid: a torch.nn.Module that returns logits, or a function of images"),
        ("returns a tuple", "gives tuple; valid: a torch.nn.Module that returns logits, or a function of images"),
        ("cannot be imported", "cannot be made: ModuleNotFoundError: No module named 'absent_thing'"),
        ("is not there", "has no attribute 'make'"),
    ],
)
def test_a_function_that_gives_no_module_is_one_line(refused, function, reason):
    name = module(FUNCTIONS[function])
    message = refused(f"python: '{name}:make'")
    assert message.startswith(f"model '{name}:make' ")
    assert message.endswith(reason)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("(y, x)", "returns tuple; valid: a tensor of logits [N, 4]"),
        ("{'scores': y}", "returns dict; valid: a tensor of logits [N, 4]"),
        ("y[:, :3]", "returns [2, 3] for 2 images; the dataset has 4 classes, so logits are [2, 4]"),
        (
            "y[:, :, None].repeat(1, 1, 2)",
            "returns [2, 4, 2] for 2 images; the dataset has 4 classes, so logits are [2, 4]",
        ),
        ("y[:1]", "returns [1, 4] for 2 images; the dataset has 4 classes, so logits are [2, 4]"),
        ("y.softmax(1)", "returns probabilities; remove its softmax: attacks need logits"),
        ("y.detach()", "gives no gradients, which attacks here need; valid: "),
        ("x @ y", "cannot take images of shape [3, 8, 8]: RuntimeError: "),
    ],
)
def test_a_model_that_could_not_be_evaluated_is_refused_before_any_compute(refused, result, message):
    name = module(RETURNS.replace("RESULT", result))
    assert refused(f"python: '{name}:Net'").startswith(f"'{name}:Net' {message}")


@pytest.mark.parametrize("result", ["y", "y.log_softmax(1)", "y.abs()", "{'logits': y}", "y[:, :, None]"])
def test_logits_of_other_kinds_are_taken(run, result):
    assert len(run(f"python: '{module(RETURNS.replace('RESULT', result))}:Net'").rows) == 1


@pytest.mark.parametrize(
    ("draw", "drawn"),
    [
        ("import random", "random.choice([1, 3])"),
        ("import numpy as np", "float(np.random.choice([1, 3]))"),
        ("", "1 + 2 * (torch.rand(()) > 0.5)"),
        ("", "1 + 2 * (torch.rand(()) > 0.9)"),
        ("import random\nOWN = random.Random(0)", "(3 if OWN.random() > 0.9 else 1)"),
        ("import numpy as np\nOWN = np.random.default_rng(0)", "(3 if OWN.random() > 0.9 else 1)"),
        ("import torch\nOWN = torch.Generator()", "1 + 2 * (torch.rand((), generator=OWN) > 0.9)"),
    ],
)
def test_a_model_that_picks_one_of_two_networks_draws_noise_though_two_calls_may_agree(refused, draw, drawn):
    name = module(f"{draw}\n{RETURNS.replace('RESULT', f'y * {drawn}')}")
    assert refused(f"python: '{name}:Net'").startswith(f"'{name}:Net' gives other logits when it is called again")


def test_a_model_that_draws_numbers_and_uses_none_of_them_is_taken(run):
    name = module(RETURNS.replace("RESULT", "y + 0 * torch.rand(())"))
    assert len(run(f"python: '{name}:Net'").rows) == 1


def test_probabilities_of_single_classes_are_warned_of(run, caplog):
    for result, times in (("y.sigmoid()", 1), ("y", 0)):
        caplog.clear()
        name = module(RETURNS.replace("RESULT", result))
        assert len(run(f"python: '{name}:Net'").rows) == 1
        warned = f"'{name}:Net' returns numbers between 0 and 1 only: if they come from a sigmoid, remove it"
        assert sum(warned in message for message in caplog.messages) == times


def test_a_model_without_gradients_is_evaluated_by_attacks_that_need_none(run, watch):
    (row,) = run(f"python: '{module(RETURNS.replace('RESULT', 'y.detach()'))}:Net'", attacks="jitter").rows
    assert sorted(watch.started) == ["attack", "judge", "judge", "measure"]
    assert row.ra.keys() == {"jitter", "worst"}


def test_one_gradient_attack_among_others_is_enough_to_refuse_a_model_without_gradients(refused):
    name = module(RETURNS.replace("RESULT", "y.detach()"))
    message = refused(f"python: '{name}:Net'", attacks="[jitter, fgsm]")
    assert "gives no gradients" in message
    assert "jitter" in message


def test_a_network_that_is_none_of_the_defense_is_refused(refused):
    name = module(NETWORK)
    assert refused(f"python: '{name}:make'", defense="float") == (
        f"'{name}:make' is no model of defense 'float': the model's condition has no field ['branch', 'noise']"
    )
    assert f"'{name}:make' is no model of defense 'oat': " in refused(f"python: '{name}:make'", defense="oat")


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ("recoloured", "it takes 3 channels; give the dataset the option `channels: 3`"),
        ("grey", "it takes 3 channels, and the images of grey have 1"),
    ],
)
def test_colour_networks_on_grey_images_are_refused_with_the_way_out(refused, dataset, reason):
    source = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())\n"
    name = module(source)
    text = SUITE.replace("name: tradeoff", f"name: {dataset}").replace(
        "  options: {images: 60, test_images: 30, size: 8, classes: 4}\n", ""
    )
    message = refused(f"python: '{name}:make'", text=text)
    assert message == f"'{name}:make' cannot take images of shape [1, 8, 8]: {reason}"


def test_a_refused_model_stops_the_jobs_of_the_others_too(here, registry, watch):
    name = module(RETURNS.replace("RESULT", "y.softmax(1)"))
    weights(here / "w.safetensors", defense="float")
    entries = [
        "{name: none, train: {batch_size: 20}}",
        "{name: float, model: {load: w.safetensors}}",
        f"{{name: none, model: {{python: '{name}:Net'}}}}",
    ]
    text = SUITE.replace("DEFENSES", f"[{', '.join(entries)}]")
    (here / "mine.yaml").write_text(text.replace("ATTACKS", "fgsm"))
    with pytest.raises(ModelError, match="returns probabilities"):
        rs.run(here / "mine.yaml", store=here / "store", leaderboard=here / "board", registry=registry)
    assert watch.started == []
