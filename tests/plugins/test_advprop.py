"""AdvProp: FLOAT's batches and branches without its noise."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import REGISTRY, RecordedStep, assert_same_gradients, attacked, build, images
from torch.nn import functional

import robuststack as rs
from robuststack.layers.condition import View
from robuststack.layers.noise import NoisyConv2d


def advprop(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "advprop", options)


@pytest.mark.parametrize("recipe", ["paper", "code"])
def test_a_step_is_floats(recipe):
    defense = advprop(recipe=recipe)
    model = build(defense)
    by_hand, (x, y) = copy.deepcopy(model).train(), images()
    step = RecordedStep(model)
    defense.training_step(step)

    adversarial = functional.cross_entropy(View(by_hand, {"branch": 1})(attacked(x[4:])), y[4:])
    if recipe == "paper":
        clean = functional.cross_entropy(View(by_hand, {"branch": 0})(x[:4]), y[:4])
        losses = [0.5 * clean, 0.5 * adversarial]
    else:
        halves = [View(by_hand, {"branch": branch})(x[4 * branch : 4 * branch + 4]) for branch in (0, 1)]
        losses = [0.5 * functional.cross_entropy(torch.cat(halves), y), 0.25 * adversarial]
    sum(losses).backward()

    ((values, stochastic, attacked_x, labels),) = step.attacks
    assert (values, stochastic) == ({"branch": 1}, False)
    assert torch.equal(attacked_x, x[4:])
    assert torch.equal(labels, y[4:])
    assert step.losses == pytest.approx([float(loss.detach()) for loss in losses])
    assert_same_gradients(model, by_hand)


def test_it_is_float_with_alpha_at_zero():
    for recipe in ("paper", "code"):
        ours, theirs = advprop(recipe=recipe), REGISTRY.create("defense", "float", {"recipe": recipe})
        model, floating = build(ours), build(theirs)
        for layer in floating.modules():
            if isinstance(layer, NoisyConv2d):
                torch.nn.init.zeros_(layer.alpha)
        for defense, network in ((ours, model), (theirs, floating)):
            defense.training_step(RecordedStep(network))
        for path, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, floating.get_parameter(path).grad)


@pytest.mark.parametrize(("value", "branch"), [(0.0, 0), (1.0, 1)])
def test_the_knob_is_the_branch(value, branch):
    advprop().check_point({"lambda": value})
    assert advprop().setting({"lambda": value}) == rs.Setting({"branch": branch}, stochastic=False)


def test_there_is_nothing_between_the_branches():
    with pytest.raises(ValueError, match=r"lambda 0\.3: the two branches .* nothing in between; valid: 0, 1"):
        advprop().check_point({"lambda": 0.3})


def test_a_suite_that_names_no_points_gets_both_ends():
    assert advprop().operating_points() == [{"lambda": 0.0}, {"lambda": 1.0}]


@pytest.mark.parametrize("recipe", ["paper", "code"])
def test_the_work_of_a_step_is_floats(recipe):
    theirs = REGISTRY.create("defense", "float", {"recipe": recipe})
    assert advprop(recipe=recipe).image_passes(7) == theirs.image_passes(7)
