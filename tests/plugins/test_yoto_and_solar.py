"""Loss-conditional training, and OATS with an output layer for each width: layers, counts and training steps."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import RecordedStep, attacked
from test_logit_mix import HAND_COUNT, HAND_MACS, SHAPE

import robuststack as rs
from robuststack.engine.measure import macs
from robuststack.layers.slimmable import SwitchableLinear
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import Registry
from robuststack.testing.network import SmallResNet

REGISTRY = Registry()
FILM = 3 * (4 * 4**2 + 6 * 4) + 2 * (4 * 8**2 + 6 * 8)
"""FiLM of width 1 has 4 C^2 + 6 C parameters: behind the norm of the stem and two of each block, of 4 and 8 channels."""
FILM_MACS = 3 * (2 * 4 + 4 * 4**2) + 2 * (2 * 8 + 4 * 8**2)


def built(name: str, **options: object) -> tuple[rs.Defense, torch.nn.Module]:
    defense = REGISTRY.create("defense", name, options)
    torch.manual_seed(0)
    return defense, defense.build(SmallResNet(), SHAPE, 4)


def test_yoto_has_the_parameters_and_macs_of_a_hand_count():
    defense, model = built("yoto")
    setting = defense.reference_setting()
    assert defense.parameters(model, setting) == HAND_COUNT + FILM
    assert macs(defense.view(model.eval(), setting), SHAPE) == HAND_MACS + FILM_MACS


def test_no_beta_is_taken_of_which_draws_run_out_of_digits():
    """They would be 0.5 where they should be at the ends."""
    least = torch.full((20_000,), 0.01)
    torch.manual_seed(0)
    assert not (torch.distributions.Beta(least, least).sample() == 0.5).any()
    with pytest.raises(InvalidOptions, match="beta"):
        built("yoto", beta=0.001)


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_each_image_is_trained_and_attacked_at_a_lambda_of_its_own(beta):
    """Against the loss by hand, at the lambdas that the default generator gives."""
    defense, model = built("yoto", beta=beta)
    reference = copy.deepcopy(model)
    step = RecordedStep(model)
    torch.manual_seed(5)
    defense.training_step(step)
    torch.manual_seed(5)
    shape = torch.full(step.y.shape, beta)
    weight = torch.distributions.Beta(shape, shape).sample()
    assert weight.unique().numel() == len(step.y)
    ((values, stochastic, x, _),) = step.attacks
    assert torch.equal(values["code"], weight[:, None])
    assert torch.equal(x, step.x)
    assert not stochastic
    losses = []
    for images, share in ((step.x, 1 - weight), (attacked(step.x), weight)):
        logits = rs.Defense.view(defense, reference, rs.Setting({"code": weight[:, None]}))(images)
        losses.append((share * torch.nn.functional.cross_entropy(logits, step.y, reduction="none")).mean())
    assert float(step.loss) == pytest.approx(float(sum(losses).detach()), rel=1e-5)


def test_solar_is_oats_with_an_output_layer_for_each_width():
    oats, solar = built("oats", dim=4), built("solar", dim=4)
    counts = [defense.parameters(model, defense.reference_setting()) for defense, model in (oats, solar)]
    assert counts[1] - counts[0] == 4 * 4 + 4  # From half of 8 features to 4 classes, with a bias.
    x = torch.rand(5, *SHAPE)
    for point in oats[0].operating_points():
        with torch.no_grad():
            logits = [defense.deploy(model.eval(), point)(x) for defense, model in (oats, solar)]
        assert torch.allclose(*logits, atol=1e-6), "both start from the same network"
    for point in solar[0].operating_points():
        same = [macs(defense.deploy(model, point), SHAPE) for defense, model in (oats, solar)]
        assert same[0] == same[1]


def test_a_width_trains_its_own_output_layer():
    defense, model = built("solar", dim=4)
    (head,) = (module for module in model.modules() if isinstance(module, SwitchableLinear))
    assert [layer.in_features for layer in head.heads] == [4, 8]
    narrow = defense.deploy(model, {"lambda": 1.0, "width": 0.5})
    narrow(torch.rand(5, *SHAPE)).sum().backward()
    assert head.heads[0].weight.grad is not None
    assert head.heads[1].weight.grad is None
