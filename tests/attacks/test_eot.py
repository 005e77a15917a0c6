"""EOT over probabilities: the gradient of the loss of the mean softmax, held against plain autograd through all draws."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from torch import Tensor, nn

from robuststack.attacks import AttackedModel, MixtureModel, cross_entropy, dlr, loss_gradient, margin
from robuststack.attacks.attacked_model import Tally
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import generator
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.noise import add_noise
from robuststack.plugin.threat import Threat
from robuststack_plugins.attacks.apgd import APGDCE
from robuststack_plugins.attacks.cw_inf import CWInf
from robuststack_plugins.attacks.fgsm import FGSM
from robuststack_plugins.attacks.pgd import PGD

LOSSES = {"cross_entropy": cross_entropy, "dlr": dlr, "margin": margin}
SHAPE = (3, 6, 6)
CLASSES = 4


def network(noise: float = 2.0, scale: float = 4.0) -> View:
    torch.manual_seed(0)
    condition = Condition("noise")
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, CLASSES)]
    model = attach(add_noise(nn.Sequential(*layers), condition, linear=True), condition).eval()
    with torch.no_grad():
        layers[-1].weight.mul_(scale)
    return View(model, {"noise": noise}, stochastic=noise > 0)


def images(count: int = 5) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.rand(count, *SHAPE, generator=source), torch.randint(CLASSES, (count,), generator=source)


def through_all_draws(model: AttackedModel, x: Tensor, y: Tensor, loss, draws: int) -> tuple[Tensor, Tensor]:
    """The referee: one graph through every draw. (The gradient of the loss of the mean softmax, its logarithm.)"""
    point = x.clone().requires_grad_()
    mean = sum(weight * part(point).softmax(1) for part, weight in model.passes(draws)) / draws
    (gradient,) = torch.autograd.grad(loss(mean.log(), y).sum(), point)
    return gradient, mean.log().detach()


@pytest.mark.parametrize("loss", LOSSES)
@given(draws=st.integers(2, 6), seed=st.integers(0, 1000), noise=st.floats(0.1, 4.0))
@bounded(max_examples=15)
def test_it_is_the_gradient_through_all_draws(loss, draws, seed, noise):
    x, y = images()
    model = AttackedModel(network(noise))
    with frozen_eval(model.view):
        torch.manual_seed(seed)
        expected, mean = through_all_draws(model, x, y, LOSSES[loss], draws)
        torch.manual_seed(seed)
        gradient, logits = loss_gradient(model, x, y, LOSSES[loss], draws, "probabilities")
    torch.testing.assert_close(logits, mean, rtol=1e-4, atol=1e-4)
    # Times the draws, as the sum over draws is.
    torch.testing.assert_close(gradient / draws, expected, rtol=2e-3, atol=2e-4 * float(expected.abs().max()) + 1e-7)


def test_the_referee_tells_it_from_the_mean_loss():
    """Planted: with the loss averaged, the gradient is another one."""
    x, y = images()
    model = AttackedModel(network(4.0))
    with frozen_eval(model.view):
        torch.manual_seed(3)
        expected, _ = through_all_draws(model, x, y, cross_entropy, 6)
        torch.manual_seed(3)
        gradient, _ = loss_gradient(model, x, y, cross_entropy, 6, "loss")
    assert float((gradient / 6 - expected).abs().max()) > 0.02 * float(expected.abs().max())


class Drawing(nn.Module):
    """Noise from the default generators of torch, numpy and Python; it keeps what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(108, CLASSES)
        self.seen: list[tuple[float, float, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        noise = float(torch.randn(())), float(np.random.randn()), random.gauss(0, 1)
        self.seen.append(noise)
        return self.linear(x.flatten(1)) * (1 + sum(noise))


def test_both_passes_see_the_same_noise_and_the_generators_go_on_behind_it():
    x, y = images()
    model = Drawing().eval()
    for count in (2, 5):
        model.seen.clear()
        loss_gradient(AttackedModel(View(model, stochastic=True)), x, y, cross_entropy, count, "probabilities")
        assert model.seen[:count] == model.seen[count:]
        assert len({*model.seen}) == count
    before = model.seen[-1]
    model(x)
    assert model.seen[-1] != before


@pytest.mark.parametrize("loss", LOSSES)
def test_one_draw_is_the_same_to_the_bit_in_one_pass(loss):
    x, y = images()
    for view in (network(0.0), network()):
        results = []
        for average in ("loss", "probabilities"):
            tally = Tally(x.device)
            torch.manual_seed(5)
            with frozen_eval(view):
                results.append(
                    (*loss_gradient(AttackedModel(view, tally=tally), x, y, LOSSES[loss], 1, average), tally)
                )
        (gradient, logits, _), (again, logits_again, tally) = results
        assert torch.equal(gradient, again)
        assert torch.equal(logits, logits_again)
        assert tally.calls == 1


def test_a_masked_class_and_a_hopeless_draw_give_finite_gradients():
    x, y = images()
    y = y % 3

    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = x.flatten(1)[:, :CLASSES] * 1e4 * torch.randn(())
            return logits.masked_fill(torch.arange(CLASSES) == 3, -torch.inf)

    for seed in range(5):
        torch.manual_seed(seed)
        gradient, logits = loss_gradient(
            AttackedModel(View(Masked(), stochastic=True)), x, y, cross_entropy, 4, "probabilities"
        )
        assert torch.isfinite(gradient).all()
        assert not logits.isnan().any()


def test_of_a_mixture_the_chances_weigh():
    x, y = images()
    parts = [AttackedModel(network(noise)) for noise in (0.0, 1.0)]
    model = MixtureModel(parts, [0.25, 0.75])
    with frozen_eval(parts[0].view), frozen_eval(parts[1].view):
        torch.manual_seed(2)
        expected, mean = through_all_draws(model, x, y, cross_entropy, 8)
        torch.manual_seed(2)
        gradient, logits = loss_gradient(model, x, y, cross_entropy, 8, "probabilities")
    torch.testing.assert_close(logits, mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient / 8, expected, rtol=2e-3, atol=1e-4 * float(expected.abs().max()))


ATTACKS = {
    "pgd": lambda average: PGD(PGD.Options(steps=3, draws=4, average=average)),
    "fgsm": lambda average: FGSM(FGSM.Options(draws=4, average=average)),
    "cw_inf": lambda average: CWInf(CWInf.Options(steps=3, draws=4, average=average)),
    "apgd_ce": lambda average: APGDCE(APGDCE.Options(iterations=4, draws=4, average=average)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_gradient_attack_has_the_option(name):
    """At a deterministic point it changes no bit; at a randomised one it does, and each step costs a pass more a draw."""
    x, y = images()
    for view, same in ((network(0.0), True), (network(), False)):
        found, calls = [], []
        for average in ("loss", "probabilities"):
            tally = Tally(x.device)
            torch.manual_seed(7)
            with frozen_eval(view):
                attacked = AttackedModel(view, tally=tally)
                threat = Threat(norm="linf", eps=0.1)
                found.append(ATTACKS[name](average).perturb(attacked, x, y, threat, generator(x.device, 0)))
            calls.append(tally.calls)
        assert torch.equal(*found) is same
        assert (calls[0] == calls[1]) is same
        estimates = [ATTACKS[name](average).image_passes(view.stochastic) for average in ("loss", "probabilities")]
        assert (estimates[0] == estimates[1]) is same
