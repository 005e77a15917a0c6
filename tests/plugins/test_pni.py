"""PNI: noise everywhere, an attack on predicted labels, a warm-up of clean epochs."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import REGISTRY, RecordedStep, assert_same_gradients, attacked, build, images
from torch import nn
from torch.nn import functional

import robuststack as rs
from robuststack.engine import train as training
from robuststack.layers.condition import View
from robuststack.layers.noise import NoisyConv2d, NoisyLinear
from robuststack.plugin.options import InvalidOptions, marked, parse
from robuststack.suite.recipe import PhaseRecipe, Recipe


def pni(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "pni", options)


def noisy(model: nn.Module) -> View:
    return View(model, {"noise": 1.0})


@pytest.mark.parametrize("granularity", ["layer", "channel", "element"])
def test_a_step_is_half_clean_and_half_adversarial_loss_of_the_whole_batch(granularity):
    defense = pni(warmup_epochs=0, granularity=granularity)
    model = build(defense)
    by_hand, (x, y) = copy.deepcopy(model).train(), images()
    step = RecordedStep(model)
    torch.manual_seed(1)
    defense.training_step(step)

    torch.manual_seed(1)
    clean = noisy(by_hand)(x)
    predicted = clean.argmax(1)
    assert not torch.equal(predicted, y), "an untrained model: true labels would be noticed"
    adversarial = noisy(by_hand)(attacked(x))
    losses = [0.5 * functional.cross_entropy(batch, y) for batch in (clean, adversarial)]
    sum(losses).backward()

    ((values, stochastic, attacked_x, labels),) = step.attacks
    assert (values, stochastic) == ({"noise": 1.0}, True)
    assert torch.equal(attacked_x, x)
    assert torch.equal(labels, predicted)
    assert step.losses == pytest.approx([float(loss.detach()) for loss in losses])
    assert_same_gradients(model, by_hand)


def test_the_warm_up_is_clean_and_noisy():
    defense = pni(warmup_epochs=2)
    for epoch, attacks in ((0, 0), (1, 0), (2, 1)):
        model = build(defense)
        by_hand, (x, y) = copy.deepcopy(model).train(), images()
        step = RecordedStep(model, epoch)
        torch.manual_seed(1)
        defense.training_step(step)
        assert len(step.attacks) == attacks
        if attacks == 0:
            torch.manual_seed(1)
            functional.cross_entropy(noisy(by_hand)(x), y).backward()
            assert_same_gradients(model, by_hand)


def test_a_warm_up_without_an_epoch_behind_it_is_refused():
    pni(warmup_epochs=2).check_recipe(PhaseRecipe(epochs=3))
    with pytest.raises(
        ValueError, match=r"^warmup_epochs 5: no image would be attacked .*; valid: less than train.epochs, 5$"
    ):
        pni().check_recipe(PhaseRecipe(epochs=5))


def test_the_warm_up_lasts_five_epochs_and_none_in_a_smoke_run():
    defense = pni()
    assert defense.options.warmup_epochs == 5
    assert marked(defense.options, "smoke") == {"warmup_epochs": 0}


@pytest.mark.usefixtures("unfolded")
def test_the_training_attack_sees_a_fresh_draw_each_step_in_eval_mode():
    defense = pni(warmup_epochs=0)
    model, seen = build(defense), []
    model.register_forward_hook(
        lambda module, args, out: seen.append((module.training, module.condition.read("noise")))
    )
    step = training.Step(model.train(), REGISTRY.create("attack", "pgd", {"steps": 3, "draws": 1}), rs.Threat(eps=0.1),
                         RecordedStep(model).runtime, 1, 0)  # fmt: skip
    step.begin(*images(), 0, 0)
    weights = []
    layer = next(module for module in model.modules() if isinstance(module, NoisyConv2d))
    draw = layer.noisy_weight
    layer.noisy_weight = lambda scale: weights.append(draw(scale)) or weights[-1]
    defense.training_step(step)
    assert seen == [(True, 1.0), *[(False, 1.0)] * 3, (True, 1.0)]
    assert len(weights) == 5
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_every_convolution_and_linear_layer_is_noisy():
    model = build(pni())
    plain = [module for module in model.modules() if type(module) in (nn.Conv2d, nn.Linear)]
    assert plain == []
    kinds = [type(module) for module in model.modules() if hasattr(module, "alpha")]
    assert kinds == [NoisyConv2d] * 7 + [NoisyLinear]


def test_alpha_is_not_decayed():
    defense = pni()
    model = build(defense)
    others, alphas = defense.parameter_groups(model, 0.01)
    assert (others["weight_decay"], alphas["weight_decay"]) == (0.01, 0.0)
    assert len(alphas["params"]) == 8
    assert len(others["params"]) + 8 == len(list(model.parameters()))


def test_the_recipe_is_nesterov_with_a_smaller_weight_decay():
    recipe = parse(Recipe, pni().recipe())
    assert (recipe.nesterov, recipe.weight_decay, recipe.epochs) == (True, 3e-4, Recipe().epochs)


@pytest.mark.parametrize(("knob", "noise"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (4.0, 4.0)])
def test_the_knob_is_the_scale_of_the_noise(knob, noise):
    assert pni().setting({"lambda_n": knob}) == rs.Setting({"noise": noise}, stochastic=noise > 0)


@pytest.mark.parametrize("value", [-0.1, 4.1])
def test_knobs_outside_their_range_are_refused(value):
    with pytest.raises(InvalidOptions, match="lambda_n"):
        parse(type(pni()).Knobs, {"lambda_n": value})


def test_more_of_the_knob_is_more_noise():
    defense = pni()
    model, (x, _) = build(defense).eval(), images()

    @torch.no_grad()
    def spread(knob: float) -> float:
        torch.manual_seed(1)
        view = defense.deploy(model, {"lambda_n": knob})
        return float(torch.stack([view(x) for _ in range(30)]).var(0).mean())

    spreads = [spread(point["lambda_n"]) for point in defense.operating_points()]
    assert spreads[0] == 0
    assert spreads == sorted(set(spreads))


def test_it_shows_the_alphas_of_its_layers():
    defense = pni(granularity="channel")
    model = build(defense)
    with torch.no_grad():
        model.classifier.alpha.fill_(-0.5)
    shown = defense.inspect(model)["alpha"]
    assert list(shown) == [path for path, module in model.named_modules() if hasattr(module, "alpha")]
    assert shown["stem"] == pytest.approx(0.25)
    assert shown["classifier"] == pytest.approx(0.5)


def test_the_work_of_a_step_is_counted():
    assert pni().image_passes(7) == 3 + 3 + 2 * 7
