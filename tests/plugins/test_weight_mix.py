"""One network between two: its weights, its batch statistics, what it costs, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from test_logit_mix import HAND_COUNT, HAND_MACS, SHAPE
from torch import nn

import robuststack as rs
from robuststack.engine.measure import macs
from robuststack.errors import PluginError
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.mixing import WeightMix
from robuststack.plugin.registry import Registry
from robuststack.testing.network import SmallResNet

REGISTRY = Registry()


class Batches:
    """Training images of a calibration."""

    def __init__(self) -> None:
        self.batches = [(torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(n)), None) for n in range(3)]

    def training(self):
        return iter(self.batches)


@pytest.fixture
def built():
    defense = REGISTRY.create("defense", "weight_mix", {"alphas": [0.0, 0.25, 0.5, 1.0]})
    torch.manual_seed(0)
    model = defense.build(SmallResNet(), SHAPE, 4)
    for parameter in model.robust.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    data = Batches()
    defense.calibrate(model.eval(), data)
    return defense, model, data


def between(model: nn.Module, alpha: float) -> nn.Module:
    """The weights between, in a plain network whose batch statistics are those of the robust one."""
    network = copy.deepcopy(model.robust)
    for weight, other in zip(network.parameters(), model.clean.parameters(), strict=True):
        weight.data = (1 - alpha) * other.data + alpha * weight.data
    return network


def test_it_is_the_network_of_the_interpolated_weights(built):
    defense, model, data = built
    for alpha in (0.25, 0.5):
        network = between(model, alpha).train()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        moments = []
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            for images, _ in data.batches:
                network(images)
                moments.append([(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms])
        for position, norm in enumerate(norms):
            norm.running_mean, norm.running_var = (
                torch.stack([batch[position][moment] for batch in moments]).mean(0) for moment in (0, 1)
            )
        x = torch.rand(5, *SHAPE)
        with torch.no_grad():
            torch.testing.assert_close(
                defense.deploy(model, {"alpha": alpha})(x), network.eval()(x), atol=1e-5, rtol=1e-4
            )


def test_at_the_ends_it_is_one_of_the_two(built):
    defense, model, _ = built
    x = torch.rand(5, *SHAPE)
    with torch.no_grad():
        assert torch.equal(defense.deploy(model, {"alpha": 0.0})(x), model.clean(x))
        assert torch.equal(defense.deploy(model, {"alpha": 1.0})(x), model.robust(x))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_one_network_runs_at_every_alpha_and_nothing_is_folded(built, alpha):
    defense, model, _ = built
    view = defense.deploy(model, {"alpha": alpha})
    assert defense.parameters(model, defense.setting({"alpha": alpha})) == HAND_COUNT
    assert macs(view, SHAPE) == HAND_MACS
    assert Folding().of(view, torch.rand(4, *SHAPE)) is view


def test_folding_it_would_give_another_network(built):
    _, model, _ = built
    x = torch.rand(4, *SHAPE)
    model.foldable = True
    view = View(model, {"mix": 1.0})
    with torch.no_grad():
        assert isinstance(Folding().of(view, x), FoldedView), "an end could be folded, but for the knob that moves on"


def test_an_alpha_without_statistics_is_refused(built):
    defense, model, _ = built
    message = "alpha 0.3 has no batch statistics; those of the option `alphas`: 0, 0.25, 0.5, 1"
    with pytest.raises(rs.PluginError, match=message):
        defense.whole_point({"alpha": 0.3})
    with pytest.raises(PluginError, match=r"mix 0\.3 has no batch statistics; valid: 0, 0\.25, 0\.5, 1"):
        View(model, {"mix": 0.3})(torch.rand(2, *SHAPE))
    ends = WeightMix(nn.Identity(), nn.Identity(), (), Condition("mix"))
    with pytest.raises(PluginError, match=r"^mix 0\.3 has no batch statistics; valid: 0, 1$"):
        View(attach(ends, ends.condition), {"mix": 0.3})(torch.rand(2, *SHAPE))


@pytest.mark.parametrize("alphas", [[0.0, 0.5], [0.5, 1.0], [0.0, 0.7, 0.5, 1.0]])
def test_alphas_rise_from_0_to_1(alphas):
    with pytest.raises(rs.PluginError, match="alphas must rise from 0 to 1"):
        REGISTRY.create("defense", "weight_mix", {"alphas": alphas})


def test_the_clean_phase_goes_on_from_the_robust_one_for_a_share_of_its_epochs():
    robust, clean = REGISTRY.create("defense", "weight_mix", {}).phases(rs.PhaseRecipe(epochs=7, lr=0.2))
    assert (robust.name, robust.parent, dict(robust.recipe)) == ("robust", None, {})
    assert clean.parent == "robust"
    assert clean.recipe == {"epochs": 2, "lr": pytest.approx(0.02), "checkpoint": "last"}
