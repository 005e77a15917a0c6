"""OATS: one draw of lambdas for all widths, the widest first."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from steps import REGISTRY, RecordedStep, assert_same_gradients, attacked, build, images
from torch import nn
from torch.nn import functional

import robuststack as rs
from robuststack.layers.condition import View
from robuststack.layers.film import FiLM
from robuststack.layers.roles import role_of
from robuststack.layers.slimmable import SwitchableBatchNorm2d
from robuststack.plugin.options import InvalidOptions


def oats(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "oats", {"dim": 4, **options})


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("widths", [[0.5, 1.0], [0.5, 0.75, 1.0]])
def test_a_step_reuses_its_lambdas_at_every_width_from_the_widest(widths, dim):
    defense = oats(widths=widths, dim=dim)
    model = build(defense)
    by_hand, (x, y) = copy.deepcopy(model).train(), images()
    step = RecordedStep(model)
    torch.manual_seed(1)
    defense.training_step(step)

    torch.manual_seed(1)
    lambdas = torch.tensor([0, 0.2, 0.7, 1])
    index = torch.cat([torch.zeros(2, dtype=torch.long), torch.randint(1, 4, (6,))])
    weight = lambdas[index]
    code = weight[:, None] if dim == 1 else by_hand.codebook[index]
    losses = []
    for width in widths[::-1]:
        clean = View(by_hand, {"split": 2, "code": code, "width": width})(x)
        losses.append(((1 - weight) * functional.cross_entropy(clean, y, reduction="none")).sum() / 8)
        adversarial = View(by_hand, {"branch": 1, "code": code[2:], "width": width})(attacked(x[2:]))
        losses.append((weight[2:] * functional.cross_entropy(adversarial, y[2:], reduction="none")).sum() / 8)
    sum(losses).backward()

    assert [values["width"] for values, *_ in step.attacks] == widths[::-1]
    for values, _, attacked_x, labels in step.attacks:
        assert values["branch"] == 1
        assert torch.equal(values["code"], code[2:])
        assert torch.equal(attacked_x, x[2:])
        assert torch.equal(labels, y[2:])
    assert step.losses == pytest.approx([float(loss.detach()) for loss in losses])
    assert_same_gradients(model, by_hand)


def test_film_stands_once_behind_the_norms_of_all_widths():
    model = build(oats(), "resnet18", width=4)
    followed = [
        module[0] for module in model.modules()
        if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], FiLM)
    ]  # fmt: skip
    norms = [module for module in model.modules() if isinstance(module, SwitchableBatchNorm2d)]
    assert followed == [norm for norm in norms if role_of(norm) in ("stem", "block")]
    assert len(norms) > len(followed) > 0
    assert sum(isinstance(module, FiLM) for module in model.modules()) == len(followed)


def test_at_one_width_it_is_oat():
    defense, plain = oats(widths=[1.0]), REGISTRY.create("defense", "oat", {"dim": 4})
    model, other = build(defense), build(plain)
    x = images()[0]
    for point in plain.operating_points():
        expected = plain.deploy(other.eval(), point)(x)
        torch.testing.assert_close(defense.deploy(model.eval(), {**point, "width": 1.0})(x), expected)
    steps = [RecordedStep(network) for network in (model, other)]
    for trained, step in zip((defense, plain), steps, strict=True):
        torch.manual_seed(1)
        trained.training_step(step)
    assert steps[0].losses == pytest.approx(steps[1].losses)


def test_settings_are_oats_with_a_width_and_survive_json():
    setting = oats().setting({"lambda": 0.2, "width": 0.5})
    assert setting == rs.Setting({"branch": 1, "lambda": 0.2, "width": 0.5}, stochastic=False)
    assert rs.Setting(**json.loads(json.dumps(setting.resolved()))) == setting


def test_a_suite_that_names_no_points_gets_every_width_and_lambda():
    points = oats(lambdas=[0.0, 0.5, 1.0]).operating_points()
    assert points == [{"lambda": value, "width": width} for width in (0.5, 1.0) for value in (0.0, 0.5, 1.0)]


def test_what_was_not_trained_is_refused():
    with pytest.raises(ValueError, match=r"width 0\.75 was not trained; trained: 0\.5, 1$"):
        oats().check_point({"lambda": 1.0, "width": 0.75})
    with pytest.raises(ValueError, match=r"lambda 0\.3 has no row in the codebook"):
        oats().check_point({"lambda": 0.3, "width": 1.0})
    with pytest.raises(InvalidOptions, match="widths must rise, be above 0 and end at 1"):
        oats(widths=[0.5])
    with pytest.raises(InvalidOptions, match="lambdas must rise, start at 0"):
        oats(lambdas=[0.5])


def test_the_work_of_a_step_goes_with_the_square_of_the_width():
    plain = REGISTRY.create("defense", "oat")
    assert oats(widths=[0.5, 0.75, 1.0]).image_passes(7) == pytest.approx(1.8125 * plain.image_passes(7))
