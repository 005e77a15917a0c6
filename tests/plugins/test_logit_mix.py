"""Two networks whose probabilities are mixed: the formula, what it costs, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import robuststack as rs
from robuststack.cli import call
from robuststack.engine.measure import macs
from robuststack.errors import PluginError
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.mixing import LogitMix
from robuststack.plugin.registry import Registry
from robuststack.testing.network import SmallResNet

REGISTRY = Registry()
SHAPE, CLASSES = (3, 8, 8), 4
HAND_COUNT = (
    3 * 4 * 9 + 8  # The stem and its norm.
    + 2 * 4 * 4 * 9 + 16 + 4 * 4 + 8  # A block of two convolutions, each with a norm, and its shortcut.
    + 4 * 8 * 9 + 8 * 8 * 9 + 32 + 4 * 8 + 16
    + 8 * 4 + 4
)  # fmt: skip
HAND_MACS = 64 * (3 * 4 * 9 + 2 * 4 * 4 * 9 + 4 * 4) + 16 * (4 * 8 * 9 + 8 * 8 * 9 + 4 * 8) + 8 * 4


def mixed(clean: nn.Module, robust: nn.Module) -> nn.Module:
    condition = Condition("mix")
    return attach(LogitMix(clean, robust, condition), condition)


def logits_of(logits: torch.Tensor) -> nn.Module:
    """A network that gives the same logits [N, K] whatever it sees."""
    network = nn.Module()
    network.forward = lambda x: logits  # type: ignore[assignment]
    return network


@pytest.fixture
def built():
    defense = REGISTRY.create("defense", "logit_mix", {})
    torch.manual_seed(0)
    model = defense.build(SmallResNet(), SHAPE, CLASSES)
    for parameter in model.robust.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return defense, model.eval()


@given(seed=st.integers(0, 99), scale=st.floats(0.1, 60), alpha=st.floats(0.01, 0.99))
def test_it_is_the_logarithm_of_the_mixed_probabilities(seed, scale, alpha):
    source = torch.Generator().manual_seed(seed)
    clean, robust = (scale * torch.randn(5, CLASSES, generator=source) for _ in range(2))
    logits = View(mixed(logits_of(clean), logits_of(robust)), {"mix": alpha})(torch.zeros(5, *SHAPE))
    expected = (1 - alpha) * clean.double().softmax(1) + alpha * robust.double().softmax(1)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits.double().exp(), expected, atol=1e-5, rtol=1e-4)


def test_at_the_ends_it_is_one_network(built):
    defense, model = built
    x = torch.rand(5, *SHAPE)
    with torch.no_grad():
        assert torch.equal(defense.deploy(model, {"alpha": 0.0})(x), model.clean(x))
        assert torch.equal(defense.deploy(model, {"alpha": 1.0})(x), model.robust(x))


@pytest.mark.parametrize(("alpha", "networks"), [(0.0, 1), (0.3, 2), (0.999, 2), (1.0, 1)])
def test_parameters_and_macs_are_those_of_the_networks_that_run(built, alpha, networks):
    defense, model = built
    setting = defense.setting({"alpha": alpha})
    assert defense.parameters(model, setting) == networks * HAND_COUNT
    assert macs(defense.view(model, setting), SHAPE) == networks * HAND_MACS
    assert defense.forward_passes(setting) == networks


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_batch_norms_are_folded_in_the_networks_that_run(built, alpha):
    defense, model = built
    view, x = defense.deploy(model, {"alpha": alpha}), torch.rand(6, *SHAPE)
    with torch.no_grad():
        plain, folded = view(x), Folding().of(view, x)
        assert isinstance(folded, FoldedView)
        assert len(folded.layers) == (7 if alpha in (0, 1) else 14)
        torch.testing.assert_close(folded(x), plain, atol=1e-4, rtol=1e-4)


def test_networks_of_other_classes_are_refused():
    view = View(mixed(logits_of(torch.zeros(2, 4)), logits_of(torch.zeros(2, 5))), {"mix": 0.5})
    with pytest.raises(PluginError, match=r"for the same classes; these give \[2, 4\] and \[2, 5\]"):
        view(torch.zeros(2, *SHAPE))


@pytest.mark.parametrize("mix", [None, -0.1, 1.1])
def test_a_mix_outside_of_its_range_is_refused(mix):
    network = logits_of(torch.zeros(2, 4))
    with pytest.raises(PluginError, match=f"mix is {mix}; valid: a number from 0"):
        View(mixed(network, copy.deepcopy(network)), {"mix": mix})(torch.zeros(2, *SHAPE))


def test_the_knob_knows_its_range():
    defense = REGISTRY.create("defense", "logit_mix", {})
    with pytest.raises(rs.PluginError, match=r"alpha: must be greater than or equal to 0, not -0\.1"):
        defense.whole_point({"alpha": -0.1})


def test_show_names_its_phases(capsys):
    assert call(["show", "defense", "logit_mix"]) == 0
    assert "Trains in phases: clean, robust\n" in capsys.readouterr().out
