"""trades, mart and awp: losses and gradients by hand, and what the attack is asked for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from steps import RecordedStep, assert_same_gradients, attacked, build
from torch import Tensor, nn
from torch.nn import functional

import robuststack as rs
from peers import REGISTRY
from robuststack.engine.random_streams import seeded
from robuststack.layers.condition import View
from robuststack.layers.sparse import masked_layers
from robuststack_plugins.defenses.mart import mart_loss
from robuststack_plugins.defenses.weight_perturbation import perturbed_weights


class AskedStep(RecordedStep):
    """Remembers the loss and the start that its attack was asked for."""

    def attack(self, view, x, y, loss=None, start=None):
        self.asked: dict[str, Any] = {"loss": loss, "start": start, "target": y, "training": view.training}
        return attacked(x)


def stepped(name: str, model: nn.Module, **options: object) -> AskedStep:
    step = AskedStep(model)
    with seeded("step"):
        REGISTRY.create("defense", name, options).training_step(step)
    return step


def divergence(target: Tensor, moved: Tensor) -> Tensor:
    """KL(target || moved) of each sample, from logits, by its definition."""
    p, q = target.softmax(1), moved.softmax(1)
    return (p * (p.log() - q.log())).sum(1)


def test_trades_is_cross_entropy_and_beta_times_the_divergence():
    model = build(REGISTRY.create("defense", "trades"))
    by_hand = copy.deepcopy(model).train()
    with torch.no_grad():
        target = copy.deepcopy(model).eval()(AskedStep(copy.deepcopy(model)).x)
    step = stepped("trades", model, beta=3.0)
    clean, moved = by_hand(step.x), by_hand(attacked(step.x))
    loss = functional.cross_entropy(clean, step.y) + 3.0 * divergence(clean, moved).mean()
    loss.backward()
    assert step.losses == [pytest.approx(float(loss.detach()), rel=1e-5)]
    assert_same_gradients(model, by_hand)
    assert step.asked["start"] == "normal"
    torch.testing.assert_close(step.asked["target"], target.softmax(1))
    torch.testing.assert_close(step.asked["loss"](moved, clean.softmax(1)), divergence(clean, moved))
    assert model.training


def mart_by_hand(clean: Tensor, moved: Tensor, y: Tensor, weight: float) -> Tensor:
    """Equation 11, sample by sample, with the constants of the reference code."""
    total = torch.zeros((), dtype=clean.dtype)
    for natural, adversarial, label in zip(clean.softmax(1), moved.softmax(1), y.tolist(), strict=True):
        others = torch.cat([adversarial[:label], adversarial[label + 1 :]])
        boosted = -adversarial[label].log() - torch.log(1.0001 - others.max() + 1e-12)
        kl = (natural * (natural.log() - adversarial.log())).sum()
        total = total + boosted + weight * kl * (1 - natural[label])
    return total / len(y)


def test_marts_loss_is_the_papers():
    with seeded("logits"):
        clean, moved = torch.randn(2, 12, 5, dtype=torch.float64) * 3
    y = torch.arange(12) % 5
    moved[0] = torch.tensor([30.0, 0, 0, 0, 0])  # Sure and wrong or right, where logarithms end.
    moved[1] = torch.tensor([30.0, 0, 0, 0, 0])
    torch.testing.assert_close(mart_loss(clean, moved, y, 5.0), mart_by_hand(clean, moved, y, 5.0))


def test_mart_weighs_the_divergence_by_how_unsure_the_clean_prediction_is():
    model = build(REGISTRY.create("defense", "mart"))
    by_hand = copy.deepcopy(model).train()
    step = stepped("mart", model)
    loss = mart_by_hand(by_hand(step.x), by_hand(attacked(step.x)), step.y, 5.0)
    loss.backward()
    assert step.losses == [pytest.approx(float(loss.detach()), rel=1e-5)]
    assert_same_gradients(model, by_hand)
    assert (step.asked["start"], step.asked["loss"]) == ("normal", None)
    assert torch.equal(step.asked["target"], step.y)


# Adversarial weight perturbation


def test_weights_move_along_their_gradients_and_come_back():
    model = build(REGISTRY.create("defense", "none")).train()
    step = RecordedStep(copy.deepcopy(model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = copy.deepcopy(model)
    functional.cross_entropy(other(step.x), step.y).backward()
    slopes = {name: weight.grad for name, weight in other.named_parameters()}
    with perturbed_weights(model, 0.01, lambda: functional.cross_entropy(model(step.x), step.y)):
        for name, weight in model.named_parameters():
            moved, slope = weight.detach() - before[name], slopes[name]
            assert slope is not None
            if weight.dim() < 2:
                assert not moved.any(), f"{name} is no matrix of weights"
                continue
            torch.testing.assert_close(moved, 0.01 * before[name].norm() / slope.norm() * slope, rtol=1e-3, atol=1e-6)
        buffers = dict(model.named_buffers())
        assert all(torch.equal(buffer, before[name]) for name, buffer in buffers.items()), "running statistics moved"
        risen = functional.cross_entropy(model(step.x), step.y)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(weight.grad is None for weight in model.parameters())
    assert risen > functional.cross_entropy(model(step.x), step.y)


@pytest.mark.parametrize(
    ("name", "options"), [("pgd_at", {}), ("pgd_at", {"lambda": 0.5}), ("trades", {}), ("float", {})], ids=str
)
def test_training_with_it_takes_the_gradients_at_the_moved_weights(name, options):
    """Against a copy whose weights were moved by hand before its step."""
    model = build(REGISTRY.create("defense", name, options))
    off, on = stepped_copy(name, model, options), stepped_copy(name, model, {**options, "awp": 0.005})
    assert [key for key, value in on.model.named_parameters() if not torch.equal(value, model.get_parameter(key))] == []
    assert len(on.losses) == len(off.losses)
    assert on.losses[-1] > off.losses[-1], "moved weights have a higher adversarial loss"
    if len(on.losses) > 1:
        assert on.losses[0] == off.losses[0], "the clean part is that of the weights themselves"


def stepped_copy(name: str, model: nn.Module, options: dict[str, object]) -> AskedStep:
    return stepped(name, copy.deepcopy(model), **options)


def test_a_defense_without_it_is_the_one_that_knows_it_not():
    """Its jobs keep their ids, and it trains to the same bits."""
    for name in ("pgd_at", "trades", "float"):
        method = REGISTRY.create("defense", name)
        assert "awp" not in method.options.resolved()
        assert REGISTRY.create("defense", name, {"awp": 0.0}).resolved() == method.resolved()
        perturbing = REGISTRY.create("defense", name, {"awp": 0.005})
        assert perturbing.options.resolved()["awp"] == 0.005
        assert perturbing.image_passes(7) > method.image_passes(7)
    assert isinstance(REGISTRY.create("defense", "floats", {"awp": 0.005}), rs.Defense)


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_a_narrow_width_moves_relative_to_what_runs(width):
    """The other channels have no gradient: of the norm of all weights the step would be too long."""
    model = build(REGISTRY.create("defense", "floats")).train()
    view = View(model, {"branch": 1, "noise": 0.0, "width": width})
    source = torch.Generator().manual_seed(0)
    x, y = torch.rand(8, 3, 8, 8, generator=source), torch.randint(4, (8,), generator=source)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with perturbed_weights(model, 0.01, lambda: functional.cross_entropy(view(x), y)):
        ratios = []
        for name, weight in model.named_parameters():
            moved = weight.detach() - before[name]
            if weight.dim() > 1 and moved.any():
                ratios.append(float(moved.norm() / (before[name] * (moved != 0)).norm()))
    assert len(ratios) > 5
    assert ratios == pytest.approx([0.01] * len(ratios), rel=0.02)


def test_weights_that_a_mask_hides_do_not_move():
    method = REGISTRY.create("defense", "floats_sparse", {"density": 0.2})
    model = build(method).train()
    view = method.view(model, method.reference_setting())
    x = torch.rand(8, 3, 8, 8)
    layers = [(layer, layer.weight.detach().clone()) for _, layer in masked_layers(model)]
    with perturbed_weights(model, 0.1, lambda: view(x).square().mean()):
        for layer, before in layers:
            moved = (layer.weight - before).detach()
            assert not moved[~layer.mask].any()
            assert float(moved.norm() / before.norm()) == pytest.approx(0.1, rel=1e-3)
    assert layers
    assert all(torch.equal(layer.weight, before) for layer, before in layers)
