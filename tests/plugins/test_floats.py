"""FLOAT Slim: Algorithm 2, and the knobs of FLOAT at every width."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import REGISTRY, RecordedStep, assert_same_gradients, attacked, build, images
from torch import nn
from torch.nn import functional

import robuststack as rs
from robuststack.layers.condition import View
from robuststack.layers.dual_norm import DualNorm
from robuststack.layers.slimmable import NoisySlimConv2d, SwitchableBatchNorm2d
from robuststack.plugin.options import InvalidOptions, parse

FLOAT = REGISTRY.create("defense", "float")


def floats(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "floats", options)


@pytest.mark.parametrize("widths", [[0.5, 1.0], [0.25, 0.5, 1.0]])
def test_a_step_goes_through_the_widths_in_order_and_adds_them_up(widths):
    defense = floats(widths=widths)
    model = build(defense)
    by_hand, (x, y) = copy.deepcopy(model).train(), images()
    step = RecordedStep(model)
    torch.manual_seed(1)
    defense.training_step(step)

    torch.manual_seed(1)
    losses = []
    for width in widths:
        clean = View(by_hand, {"branch": 0, "noise": 0.0, "width": width})(x[:4])
        adversarial = View(by_hand, {"branch": 1, "noise": 1.0, "width": width})(attacked(x[4:]))
        losses += [0.5 * functional.cross_entropy(clean, y[:4]), 0.5 * functional.cross_entropy(adversarial, y[4:])]
    sum(losses).backward()

    assert [values for values, *_ in step.attacks] == [{"branch": 1, "noise": 1.0, "width": share} for share in widths]
    for _, stochastic, attacked_x, labels in step.attacks:
        assert stochastic
        assert torch.equal(attacked_x, x[4:])
        assert torch.equal(labels, y[4:])
    assert step.losses == pytest.approx([float(loss.detach()) for loss in losses])
    assert_same_gradients(model, by_hand)


def test_the_codes_recipe_holds_at_every_width():
    defense, plain = floats(recipe="code", widths=[1.0]), REGISTRY.create("defense", "float", {"recipe": "code"})
    steps = []
    for trained in (defense, plain):
        steps.append(RecordedStep(build(trained)))
        torch.manual_seed(1)
        trained.training_step(steps[-1])
    assert steps[0].losses == steps[1].losses


def test_at_one_width_it_is_float():
    defense = floats(widths=[1.0])
    model, floating = build(defense).eval(), build(FLOAT).eval()
    x = images()[0]
    for point in FLOAT.operating_points():
        torch.manual_seed(2)
        expected = FLOAT.deploy(floating, point)(x)
        torch.manual_seed(2)
        assert torch.equal(defense.deploy(model, {**point, "width": 1.0})(x), expected)


def test_every_width_has_its_dual_norms_and_shares_weights_and_alphas():
    model = build(floats())
    norms = [module for module in model.modules() if isinstance(module, SwitchableBatchNorm2d)]
    assert len(norms) == 7
    assert all([type(branches) for branches in norm.norms] == [DualNorm] * 2 for norm in norms)
    assert sum(isinstance(module, NoisySlimConv2d) for module in model.modules()) == 7
    assert not hasattr(model.classifier, "alpha")
    assert [len(list(layer.parameters(recurse=False))) for layer in (model.stem, model.classifier)] == [2, 2]


@pytest.mark.parametrize("lambda_th", [0.0, 0.5])
@pytest.mark.parametrize("lambda_n", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_settings_and_protocols_are_floats_at_a_width(lambda_n, lambda_th):
    point = {"lambda_n": lambda_n, "lambda_th": lambda_th}
    ours = floats().protocols({**point, "width": 0.5})
    theirs = FLOAT.protocols(point)
    assert ours.keys() == theirs.keys() == {"adaptive", "published"}
    for name, scoring in theirs.items():
        for role in ("clean", "attacker", "victim"):
            plain, slim = getattr(scoring, role), getattr(ours[name], role)
            assert slim == rs.Setting({**plain.values, "width": 0.5}, stochastic=plain.stochastic)


def test_a_suite_that_names_no_points_gets_every_width_and_lambda():
    points = floats().operating_points()
    assert len(points) == 8
    assert points[0] == {"lambda_n": 0.0, "lambda_th": 0.0, "width": 0.5}
    assert points[-1] == {"lambda_n": 1.0, "lambda_th": 0.0, "width": 1.0}
    assert {(point["lambda_n"], point["width"]) for point in points} == {
        (value, width) for value in (0.0, 0.2, 0.7, 1.0) for width in (0.5, 1.0)
    }


def test_a_width_that_was_not_trained_is_refused():
    with pytest.raises(ValueError, match=r"width 0\.75 was not trained; trained: 0\.5, 1$"):
        floats().check_point({"lambda_n": 1.0, "lambda_th": 0.0, "width": 0.75})
    floats(widths=[0.75, 1.0]).check_point({"lambda_n": 1.0, "lambda_th": 0.0, "width": 0.75})


@pytest.mark.parametrize("widths", [[0.5], [1.0, 0.5], [0.0, 1.0], [0.5, 0.5, 1.0], []])
def test_widths_that_cannot_work_are_refused(widths):
    with pytest.raises(InvalidOptions, match="widths must rise, be above 0 and end at 1"):
        floats(widths=widths)


@pytest.mark.parametrize("width", [0.0, 1.5])
def test_a_width_outside_its_range_is_refused(width):
    with pytest.raises(InvalidOptions, match="width"):
        parse(type(floats()).Knobs, {"width": width})


def test_a_width_that_does_not_divide_the_channels_is_refused_when_the_model_is_built():
    with pytest.raises(rs.PluginError, match=r"width 0\.3: stem has 4 channels, of which this is no whole number"):
        build(floats(widths=[0.3, 1.0]))


def test_the_narrow_network_costs_a_fraction_and_learns_its_own_function():
    from robuststack.engine.measure import macs

    defense = floats()
    model, x = build(defense, width=8).eval(), images()[0]
    point = {"lambda_n": 0.0, "lambda_th": 0.0}
    views = [defense.deploy(model, {**point, "width": width}) for width in (0.5, 1.0)]
    half, whole = (macs(view, (3, 8, 8)) for view in views)
    # A quarter, but for the stem and the classifier, which have one side that is not slimmed.
    assert 0.25 < half / whole < 0.3
    assert not torch.allclose(views[0](x), views[1](x))


def test_the_alphas_are_shown_once_for_all_widths():
    model = build(floats())
    shown = floats().inspect(model)["alpha"]
    assert list(shown) == [path for path, module in model.named_modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("recipe", ["paper", "code"])
def test_the_work_of_a_step_goes_with_the_square_of_the_width(recipe):
    plain = REGISTRY.create("defense", "float", {"recipe": recipe})
    assert floats(recipe=recipe).image_passes(7) == pytest.approx(1.25 * plain.image_passes(7))
