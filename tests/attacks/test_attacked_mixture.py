"""Attacks on a model whose setting is drawn at random and hidden."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks import AttackedModel, MixtureModel, cross_entropy, loss_gradient
from robuststack.attacks.attacked_model import Tally
from robuststack.attacks.mixture import Mixture
from robuststack.engine.attack import attack_block
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View, attach
from robuststack.plugin.registry import Registry

RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = rs.Threat(eps=0.2)


class Knob(nn.Module):
    """Two linear readouts; the field `branch` chooses one, and `noise` disturbs its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]]))
        attach(self, Condition("branch", "noise"))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weights[self.condition.read("branch") or 0]
        noise = self.condition.read("noise") or 0.0
        if noise:
            weight = weight + noise * torch.randn_like(weight)
        return 5 * (x.flatten(1) - 0.5) @ weight.T


def views(noise: float = 0.0) -> tuple[View, View]:
    model = Knob().eval()
    first, second = (View(model, {"branch": j, "noise": noise}, stochastic=noise > 0) for j in range(2))
    return first, second


def images(count: int = 16) -> tuple[Tensor, Tensor]:
    """Images of two pixels, both bright: class 0 at each setting."""
    x = 0.55 + 0.1 * torch.rand(count, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    return x, torch.zeros(count, dtype=torch.long)


def mixed(weights: tuple[float, ...], noise: float = 0.0) -> MixtureModel:
    tally = Tally(torch.device("cpu"))
    return MixtureModel([AttackedModel(view, RUNTIME, tally) for view in views(noise)], weights)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1)])
def test_the_gradient_is_the_weighted_mean_of_the_settings(weights):
    x, y = images()
    single = [loss_gradient(AttackedModel(view, RUNTIME), x, y, cross_entropy, 1)[0] for view in views()]
    gradient, logits = loss_gradient(mixed(weights), x, y, cross_entropy, 1)
    torch.testing.assert_close(gradient, weights[0] * single[0] + weights[1] * single[1])
    # A planted fault: weights that are ignored.
    assert not torch.allclose(gradient, 0.3 * single[0] + 0.7 * single[1])
    probabilities = sum(
        weight * AttackedModel(view, RUNTIME)(x).softmax(1) for weight, view in zip(weights, views(), strict=True)
    )
    torch.testing.assert_close(logits.softmax(1), probabilities)
    torch.testing.assert_close(mixed(weights)(x).softmax(1), probabilities)


def test_draws_are_shared_among_the_settings_by_their_chances():
    passes = mixed((0.75, 0.25), noise=1.0).passes(8)
    assert [weight for _, weight in passes] == pytest.approx([1.0] * 8)
    model = mixed((0.99, 0.01), noise=1.0)
    # Even a rare setting is looked at, with the weight that its chance gives it.
    assert [weight for _, weight in model.passes(4)][-1] == pytest.approx(0.04)
    assert sum(weight for _, weight in model.passes(4)) == pytest.approx(4)
    assert len(mixed((0.5, 0.5)).passes(8)) == 2


def test_a_mixture_never_settles_and_calls_are_counted_once():
    model = mixed((0.5, 0.5))
    assert not model.settles
    x, y = images()
    loss_gradient(model, x, y, cross_entropy, 1)
    assert model.tally is not None
    assert model.tally.calls == 2
    assert model.tally.gradients[0] == len(x)
    assert model.subset(torch.tensor([0, 2]))(x[:2]).shape == (2, 2)


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0, 0.0), (1.0,)])
def test_weights_that_are_no_chances_are_refused(weights):
    with pytest.raises(ValueError, match="are no chances of 2 settings"):
        mixed(weights)


def test_an_attack_on_the_mixture_fools_both_settings_where_one_on_either_fools_one():
    x, y = images()
    attack = Registry().create("attack", "pgd", {"steps": 10})

    def fooled(attacker: View | Mixture) -> list[float]:
        found, seen = attack_block(attacker, x, y, attack, THREAT, RUNTIME, seed=0, number=0, early_stop=False)
        assert seen.state_kept
        assert seen.clipped == 0
        return [float((view(found).argmax(1) != y).float().mean()) for view in views()]

    both = views()
    assert fooled(Mixture(both, (0.5, 0.5))) == [1.0, 1.0]
    assert fooled(both[0])[0] == 1.0
    # On a setting that the attacker does not look at, the random start is all that moves the pixel.
    assert fooled(both[0])[1] < 0.8


class OneNorm(nn.Module):
    """A convolution, at `branch` 1 with a batch norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        attach(self, Condition("branch"))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.norm(y) if self.condition.read("branch") else y).mean((2, 3))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_mixture_is_folded_if_one_of_its_settings_is(order):
    model = OneNorm().eval()
    both = tuple(View(model, {"branch": branch}) for branch in order)
    attack = Registry().create("attack", "fgsm")
    x, y = images()
    for attacker, folded in ((Mixture(both, (0.5, 0.5)), True), (View(model, {"branch": 0}), False)):
        _, seen = attack_block(attacker, x, y, attack, THREAT, RUNTIME, seed=0, number=0, early_stop=False)
        assert seen.folded == folded
        assert not seen.again
