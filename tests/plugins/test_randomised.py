"""input_noise, rse, rpf and adv_bnn: what is drawn, how it is frozen and quiet, and what their published scorings are."""

from __future__ import annotations

import math

import pytest
import torch
from steps import BATCH, CLASSES, SHAPE, RecordedStep, build, images
from torch import Tensor, distributions, nn
from torch.nn import functional

import robuststack as rs
from peers import REGISTRY
from robuststack.engine.measure import macs
from robuststack.engine.random_streams import seeded
from robuststack.layers.activation_noise import first_convolution, noisy_convolutions
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.freezing import freeze
from robuststack.layers.random_filters import RandomFiltersConv2d, one_draw
from robuststack.layers.variational import Variational, divergence
from robuststack.suite.ladder import ladder


def defense(name: str, **options: object) -> rs.Defense:
    return REGISTRY.create("defense", name, options)


def statistics_of(draws: Tensor) -> tuple[float, float]:
    return float(draws.mean()), float(draws.std())


# The published scorings


def test_rse_is_attacked_by_single_draws_and_judged_by_the_mean_of_ten():
    scorings = defense("rse").protocols({"ensemble": 10})
    one, ten = (rs.Setting({"noise": 1.0, "ensemble": draws}, stochastic=True) for draws in (1, 10))
    assert scorings["published"] == rs.Scoring(clean=ten, attacker=one, victim=ten, draws=1)
    assert scorings["adaptive"] == rs.Scoring(ten, ten, ten)


def test_adv_bnn_is_judged_by_the_mean_of_twenty_at_every_point():
    one, twenty = (rs.Setting({"noise": 1.0, "ensemble": draws}, stochastic=True) for draws in (1, 20))
    published = rs.Scoring(clean=twenty, attacker=one, victim=twenty, draws=1)
    assert [defense("adv_bnn").protocols({"ensemble": draws})["published"] for draws in (1, 20)] == [published] * 2


def test_rpf_is_attacked_on_one_draw_and_judged_on_others():
    method = defense("rpf")
    deployed = rs.Setting(stochastic=True)
    scorings = method.protocols({})
    assert scorings["published"] == rs.Scoring(deployed, deployed, deployed, bakes=1)
    rungs = ladder(method, scorings["adaptive"], 5)
    assert rungs is not None
    assert rungs.inapplicable == {"off": "defense 'rpf' has no setting with its noise off"}


def test_smoothing_is_attacked_as_it_is_deployed():
    scorings = defense("input_noise").protocols({"sigma": 0.25})
    assert scorings["published"] == scorings["adaptive"]


@pytest.mark.parametrize("name", ["rse", "adv_bnn"])
def test_an_ensemble_costs_its_draws_and_is_quiet_in_one_pass(name):
    method = defense(name)
    model = build(method).eval()
    costs = [macs(method.view(model, method.setting({"ensemble": draws})), SHAPE) for draws in (1, 7)]
    assert costs[1] == 7 * costs[0]
    assert method.forward_passes(method.setting({"ensemble": 7})) == 7
    quiet = method.quiet(method.setting({"ensemble": 7}))
    assert quiet is not None
    assert macs(method.view(model, quiet), SHAPE) == costs[0]


@pytest.mark.parametrize("name", ["rse", "adv_bnn"])
def test_the_answer_is_the_mean_probability_of_the_draws(name):
    method = defense(name)
    model, (x, _) = build(method).eval(), images()
    with torch.no_grad():
        with seeded("ensemble"):
            mean = method.view(model, method.setting({"ensemble": 5}))(x).exp()
        with seeded("ensemble"):
            single = [method.view(model, method.setting({"ensemble": 1}))(x).softmax(1) for _ in range(5)]
    torch.testing.assert_close(mean, torch.stack(single).mean(0))


@pytest.mark.parametrize("name", ["rse", "adv_bnn"])
def test_a_frozen_ensemble_keeps_a_draw_for_each_member(name):
    method = defense(name)
    model, (x, _) = build(method).eval(), images()
    with seeded("frozen"), torch.no_grad():
        frozen = freeze(method.view(model, method.setting({"ensemble": 4})))
        logits = frozen(x)
        members = []
        for member in range(4):
            with frozen.condition.holding({"noise": 1.0, "member": member}, BATCH):
                members.append(frozen.model.network(x).softmax(1))
    torch.testing.assert_close(logits.exp(), torch.stack(members).mean(0))
    assert all(not torch.allclose(members[0], other) for other in members[1:])


# input_noise


def test_smoothing_draws_each_pixel_of_each_image_alone():
    method = defense("input_noise", sigma=0.2)

    class Identity(rs.Architecture):
        def build(self, shape, num_classes):
            return nn.Flatten()

    view = method.view(method.build(Identity(), (1, 4, 4), 16), method.setting({"sigma": 0.1}))
    with seeded("noise"):
        drawn = torch.stack([view(torch.full((50, 1, 4, 4), 0.5)) for _ in range(40)])
    mean, spread = statistics_of(drawn - 0.5)
    assert abs(mean) < 5 * 0.1 / math.sqrt(drawn.numel())
    assert spread == pytest.approx(0.1, rel=0.03)
    pixels = drawn.permute(1, 2, 0).reshape(800, 40) - 0.5
    apart = torch.corrcoef(pixels) - torch.eye(800)
    assert float(apart.square().mean()) == pytest.approx(1 / 40, rel=0.1), "as much as chance makes of 40 numbers"


def test_its_points_are_shares_of_the_noise_it_was_trained_with():
    method = defense("input_noise", sigma=0.5)
    assert method.operating_points() == [{"sigma": 0.0}, {"sigma": 0.25}, {"sigma": 0.5}]
    assert method.reference_setting() == method.training_setting() == rs.Setting({"noise": 0.5}, stochastic=True)
    assert method.quiet(method.setting({"sigma": 0.5})) == rs.Setting({"noise": 0.0})


# rse


def test_the_image_gets_more_noise_than_other_convolutions():
    model = build(defense("rse"))
    scales = [layer.scale for layer in noisy_convolutions(model)]
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert scales == [0.2, *[0.1] * (convolutions - 1)]


def test_a_noisy_convolution_convolves_its_noisy_input():
    model = build(defense("rse")).eval()
    layer = next(noisy_convolutions(model))
    x = images()[0]
    with model.condition.holding({"noise": 1.0}, BATCH):
        with seeded("layer"):
            output = layer(x)
        with seeded("layer"):
            noisy = x + 0.2 * torch.randn_like(x)
    expected = functional.conv2d(noisy, layer.weight, layer.bias, layer.stride, layer.padding)
    torch.testing.assert_close(output, expected)


def test_its_convolutions_are_folded_and_draw_the_same_noise():
    method = defense("rse")
    model, (x, _) = build(method).eval().requires_grad_(False), images()
    view = method.view(model, method.setting({"ensemble": 1}))
    folded = Folding().of(view, x)
    assert isinstance(folded, FoldedView)
    with torch.no_grad():
        with seeded("folded"):
            plain = view(x)
        with seeded("folded"):
            torch.testing.assert_close(folded(x), plain, rtol=1e-3, atol=1e-4)


# rpf


def test_random_filters_are_new_in_each_pass_and_all_have_one_scale():
    model = build(defense("rpf"), width=16).eval()
    layer = next(module for module in model.modules() if isinstance(module, RandomFiltersConv2d))
    assert (layer.count, *layer.weight.shape) == (12, 4, 3, 3, 3)
    with seeded("filters"):
        mean, spread = statistics_of(torch.stack([layer.draw() for _ in range(200)]))
    assert abs(mean) < 5 / 3 / math.sqrt(200 * 12 * 27)
    assert spread == pytest.approx(1 / 3, rel=0.02)
    torch.testing.assert_close(layer.trained_filters().flatten(1).std(1), torch.full((4,), 1 / 3), rtol=1e-3, atol=0)
    x = images()[0]
    first, second = layer(x), layer(x)
    assert torch.equal(first[:, :4], second[:, :4])
    assert all(not torch.equal(first[:, filter_], second[:, filter_]) for filter_ in range(4, 16))
    with one_draw(model):
        assert torch.equal(layer(x), layer(x))
    assert layer.held is None


class HeldStep(RecordedStep):
    """Remembers the random filters that the attack saw."""

    def attack(self, view, x, y, loss=None, start=None):
        layer = next(module for module in self.model.modules() if isinstance(module, RandomFiltersConv2d))
        self.held, self.kinds = [layer.held.clone() for _ in (view(x), view(x))], view.stochastic
        return super().attack(view, x, y, loss, start)


def test_its_attack_sees_one_draw_and_its_loss_another():
    method = defense("rpf")
    step = HeldStep(build(method))
    with seeded("step"):
        method.training_step(step)
    assert torch.equal(*step.held)
    assert step.kinds is False
    assert len(step.losses) == 1
    layer = next(module for module in step.model.modules() if isinstance(module, RandomFiltersConv2d))
    assert layer.held is None


class Perceptron(rs.Architecture):
    def build(self, shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8), nn.ReLU(), nn.Linear(8, num_classes))


class NormFirst(rs.Architecture):
    """The convolution that runs first was made last."""

    def build(self, shape, num_classes):
        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.second = nn.Conv2d(4, 4, 3)
                self.norm = nn.BatchNorm2d(shape[0])
                self.first = nn.Conv2d(shape[0], 4, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.second(self.first(self.norm(x))).mean((2, 3))

        return Network()


@pytest.mark.parametrize("name", ["rpf", "rse"])
def test_a_network_whose_first_layer_is_no_convolution_is_refused(name):
    with pytest.raises(rs.PluginError, match=r"whose first layer is a convolution; here it is a Linear$"):
        defense(name).build(Perceptron(), SHAPE, CLASSES)


def test_the_first_convolution_is_the_one_that_runs_first():
    network = NormFirst().build(SHAPE, CLASSES)
    assert first_convolution(network, SHAPE) is network.first
    model = defense("rse").build(NormFirst(), SHAPE, CLASSES)
    assert (model.network.first.scale, model.network.second.scale) == (0.2, 0.1)
    assert isinstance(defense("rpf").build(NormFirst(), SHAPE, CLASSES).second, nn.Conv2d)


def test_only_the_trained_filters_have_a_weight_decay_of_their_own():
    method = defense("rpf", filter_weight_decay=0.02)
    others, filters = method.parameter_groups(build(method), 5e-4)
    assert [len(filters["params"]), filters["weight_decay"], others["weight_decay"]] == [1, 0.02, 5e-4]


# adv_bnn


def test_weights_are_normal_with_the_learned_means_and_deviations():
    model = build(defense("adv_bnn", deviation=0.05)).eval()
    layer = next(
        module
        for module in model.modules()
        if isinstance(module, Variational) and dict(module.means()).get("bias") is not None
    )
    with seeded("weights"):
        draws = [layer._draw(1.0) for _ in range(400)]
    for name, mean in layer.means():
        drawn = torch.stack([draw[name] for draw in draws])
        torch.testing.assert_close(drawn.mean(0), mean.detach(), rtol=0, atol=5 * 0.05 / math.sqrt(400))
        assert float((drawn - mean).detach().std()) == pytest.approx(0.05, rel=0.1)


def test_the_divergence_is_that_of_torch():
    model = build(defense("adv_bnn"))
    expected = sum(
        distributions.kl_divergence(
            distributions.Normal(mean, layer.get_parameter(f"{name}_s").exp()), distributions.Normal(0.0, 0.3)
        ).sum()
        for layer in model.modules()
        if isinstance(layer, Variational)
        for name, mean in layer.means()
    )
    torch.testing.assert_close(divergence(model, 0.3), expected)


def test_its_loss_is_that_of_the_adversarial_images_and_a_share_of_the_divergence():
    method = defense("adv_bnn")
    step = RecordedStep(build(method))
    with seeded("step"):
        method.training_step(step)
    (values, stochastic, x, _) = step.attacks[0]
    assert (values, stochastic) == ({"noise": 1.0, "ensemble": 1}, True)
    assert torch.equal(x, step.x)
    alone = step.losses[0] - float(divergence(step.model, 0.08).detach()) / BATCH
    assert 0.3 < alone < 20, "the cross-entropy of an untrained network"


def test_deviations_of_adv_bnn_have_their_prior_and_no_weight_decay():
    method = defense("adv_bnn")
    model = build(method)
    decayed, free = method.parameter_groups(model, 5e-4)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)].endswith("_s") for parameter in free["params"]} == {True}
    assert {names[id(parameter)].endswith("_s") for parameter in decayed["params"]} == {False}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)


def test_random_filters_of_one_weight_are_refused():
    """The trained ones beside them are divided by the spread of their weights."""
    RandomFiltersConv2d(nn.Conv2d(2, 4, 1), 2)
    with pytest.raises(rs.PluginError, match="one alone has no spread"):
        RandomFiltersConv2d(nn.Conv2d(1, 4, 1), 2)
