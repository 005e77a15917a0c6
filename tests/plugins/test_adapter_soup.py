"""Adapter soup: co-training of two affine sets, and their mixture at deployment."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import REGISTRY, RecordedStep, assert_same_gradients, attacked, build, images
from torch import nn
from torch.nn import functional

import robuststack as rs
from robuststack.layers.affine_soup import AffineSoup
from robuststack.layers.condition import View


def soup(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "adapter_soup", options)


@pytest.mark.parametrize("statistics", ["shared", "dual"])
def test_a_step_is_half_clean_at_one_end_and_half_adversarial_at_the_other(statistics):
    defense = soup(statistics=statistics)
    model = build(defense)
    by_hand, (x, y) = copy.deepcopy(model).train(), images()
    step = RecordedStep(model)
    defense.training_step(step)

    clean, adversarial = View(by_hand, {"mix": 0.0})(x), View(by_hand, {"mix": 1.0})(attacked(x))
    losses = [0.5 * functional.cross_entropy(batch, y) for batch in (clean, adversarial)]
    sum(losses).backward()

    ((values, stochastic, attacked_x, labels),) = step.attacks
    assert (values, stochastic) == ({"mix": 1.0}, False)
    assert torch.equal(attacked_x, x)
    assert torch.equal(labels, y)
    assert step.losses == pytest.approx([float(loss.detach()) for loss in losses])
    assert_same_gradients(model, by_hand)


@pytest.mark.parametrize(("statistics", "counts"), [("shared", [2]), ("dual", [1, 1])])
def test_statistics_are_shared_or_each_ends_own(statistics, counts):
    defense = soup(statistics=statistics)
    model = build(defense)
    defense.training_step(RecordedStep(model))
    layers = [module for module in model.modules() if isinstance(module, AffineSoup)]
    assert len(layers) == 7
    for layer in layers:
        assert [int(buffer) for name, buffer in layer.named_buffers() if name.endswith("tracked")] == counts


@pytest.mark.parametrize("value", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("statistics", ["shared", "dual"])
def test_a_point_is_the_plain_network_with_mixed_norms(statistics, value):
    defense = soup(statistics=statistics)
    model = build(defense)
    for path, parameter in model.named_parameters():
        if ".ends." in path:
            nn.init.uniform_(parameter, 0.5, 1.5)
    defense.training_step(RecordedStep(model))  # So that the two sets of statistics differ.
    model.eval()
    plain = build(REGISTRY.create("defense", "none")).eval()
    ours, state = model.state_dict(), plain.state_dict()
    for key in state:
        module, _, name = key.rpartition(".")
        ends = [ours.get(f"{module}.ends.{end}.{name}") for end in (0, 1)]
        if ends[1] is None:
            state[key] = ends[0] if ends[0] is not None else ours[key]
        else:
            state[key] = (1 - value) * ends[0] + value * ends[1]
    plain.load_state_dict(state)
    x = images()[0]
    torch.testing.assert_close(defense.deploy(model, {"lambda": value})(x), plain(x))


def test_points_and_work():
    defense = soup()
    assert defense.operating_points() == [{"lambda": value} for value in (0.0, 0.2, 0.7, 1.0)]
    assert defense.setting({"lambda": 0.2}) == rs.Setting({"mix": 0.2}, stochastic=False)
    assert defense.image_passes(7) == 3 + 3 + 2 * 7
