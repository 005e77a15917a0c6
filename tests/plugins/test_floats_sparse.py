"""FLOAT Sparse: masks through training, the rate at which they move, and what is zero."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from steps import REGISTRY, RUNTIME, THREAT, RecordedStep, assert_same_gradients, build, images
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import train as training
from robuststack.engine.data import Data
from robuststack.layers import sparse
from robuststack.layers.noise import NoisyConv2d
from robuststack.plugin.options import InvalidOptions
from robuststack.suite.recipe import PhaseRecipe, Recipe

EPOCHS = 4


def sparse_float(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "floats_sparse", options)


def train(defense: rs.Defense, **recipe: object) -> tuple[nn.Module, list[list[Tensor]]]:
    """A model after `EPOCHS` epochs, and its masks at the end of each."""
    recipe_ = Recipe(**{"epochs": EPOCHS, "batch_size": 8, "lr": 0.05, **recipe})
    state, masks = training.begin(defense, build(defense), recipe_), []
    training.train(
        state, defense, Data(*images(24)), REGISTRY.create("attack", "pgd", {"steps": 1, "draws": 1}), THREAT, recipe_,
        RUNTIME, seed=0, augmentation=rs.Augmentation(),
        epoch_done=lambda *_: masks.append([layer.mask.clone() for _, layer in sparse.masked_layers(state.model)]),
    )  # fmt: skip
    return state.model, masks


def test_every_convolution_starts_with_the_density():
    model = build(sparse_float(density=0.25))
    layers = dict(sparse.masked_layers(model))
    assert list(layers) == [path for path, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    for layer in layers.values():
        assert isinstance(layer, NoisyConv2d)
        assert int(layer.mask.sum()) == round(0.25 * layer.weight.numel())
        assert torch.equal(layer.weight != 0, layer.mask)


def test_a_step_is_floats_with_masked_noise():
    defense, plain = sparse_float(), REGISTRY.create("defense", "float")
    model = build(defense)
    other = copy.deepcopy(model)
    for layer in other.modules():
        if isinstance(layer, NoisyConv2d):
            # FLOAT by hand: noise on each layer by an alpha that is zero where the mask is.
            mask = layer.mask
            layer.mask = None
            layer.noisy_weight = _masked_by_hand(layer, mask)
    steps = [RecordedStep(model), RecordedStep(other)]
    for trained, step in zip((defense, plain), steps, strict=True):
        torch.manual_seed(1)
        trained.training_step(step)
    assert steps[0].losses == pytest.approx(steps[1].losses)
    assert_same_gradients(model, other)


def _masked_by_hand(layer: NoisyConv2d, mask: Tensor):
    def draw(scale: float) -> Tensor:
        eta = torch.randn(layer.weight.shape)
        noise = scale * layer.alpha * layer.weight.detach().std() * eta
        return layer.weight + torch.where(mask, noise, torch.zeros(()))

    return draw


def test_training_keeps_the_number_of_weights_alive_and_the_others_at_zero():
    defense = sparse_float(density=0.2)
    model, masks = train(defense)
    counts = [sum(int(mask.sum()) for mask in epoch) for epoch in masks]
    built = build(defense)
    expected = sum(int(masked.mask.sum()) for _, masked in sparse.masked_layers(built))
    assert counts == [expected] * EPOCHS
    for _, layer in sparse.masked_layers(model):
        assert bool((layer.weight[~layer.mask] == 0).all())
        assert bool((layer.weight[layer.mask] != 0).all())
    initial = [masked.mask for _, masked in sparse.masked_layers(built)]
    assert any(not torch.equal(a, b) for a, b in zip(initial, masks[0], strict=True))


@pytest.mark.usefixtures("unfolded")
def test_no_image_passes_through_a_weight_that_is_not_alive():
    defense = sparse_float(density=0.2)
    state, seen = training.begin(defense, build(defense), Recipe()), []

    def look(module: nn.Module, args: object) -> None:
        layers = [layer for _, layer in sparse.masked_layers(module)]
        seen.append(all(bool((layer.weight[~layer.mask] == 0).all()) for layer in layers))

    state.model.register_forward_pre_hook(look)
    recipe = Recipe(epochs=1, batch_size=8, lr=0.05)
    training.train(
        state, defense, Data(*images(24)), REGISTRY.create("attack", "pgd", {"steps": 1, "draws": 1}), THREAT, recipe,
        RUNTIME, seed=0, augmentation=rs.Augmentation(), epoch_done=lambda *_: None,
    )  # fmt: skip
    assert len(seen) == 3 * 3, "three steps: clean, attack, adversarial"
    assert all(seen)


def test_masks_move_less_and_less_and_not_at_the_last_epoch():
    _, masks = train(sparse_float(density=0.3, prune_rate=0.6))
    assert all(torch.equal(a, b) for a, b in zip(masks[-2], masks[-1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(masks[0], masks[1], strict=True))


def test_the_rate_falls_linearly_to_zero(monkeypatch):
    rates = []
    monkeypatch.setattr(sparse, "regrow", lambda model, momentum, rate: rates.append(rate))
    train(sparse_float(prune_rate=0.4))
    assert rates == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_regrowth_goes_by_the_optimisers_momentum(monkeypatch):
    defense = sparse_float()
    seen: list[bool] = []

    def check(model, momentum, rate):
        state = {id(weight): buffer for weight, buffer in momentum.items()}
        for _, layer in sparse.masked_layers(model):
            seen.append(float(state[id(layer.weight)][~layer.mask].abs().sum()) > 0)

    monkeypatch.setattr(sparse, "regrow", check)
    train(defense)
    assert len(seen) == EPOCHS * 7
    assert all(seen), "weights that are not alive have a momentum too"


def test_no_exchange_keeps_the_first_masks():
    defense = sparse_float(prune_rate=0.0)
    _, masks = train(defense)
    initial = [layer.mask for _, layer in sparse.masked_layers(build(defense))]
    assert all(torch.equal(a, b) for a, b in zip(initial, masks[-1], strict=True))


def test_a_pruned_weight_stays_zero_under_noise():
    defense = sparse_float()
    model = build(defense)
    frozen = defense.deploy(model, {"lambda_n": 1.0, "lambda_th": 0.0}, frozen=True)
    for (_, layer), (_, baked) in zip(sparse.masked_layers(model), sparse.masked_layers(frozen.model), strict=True):
        assert bool((baked.weight[~layer.mask] == 0).all())
        assert bool((baked.weight[layer.mask] != layer.weight[layer.mask]).all())


@pytest.mark.parametrize("density", [0.01, 0.1, 1.0])
def test_what_is_not_zero_is_counted_from_the_masks(density):
    defense = sparse_float(density=density)
    model, _ = train(defense)
    setting = defense.setting({"lambda_n": 1.0, "lambda_th": 0.0})
    dead = sum(int((~layer.mask).sum()) for _, layer in sparse.masked_layers(model))
    assert defense.nonzero_parameters(build(defense), setting) == defense.parameters(model, setting) - dead
    assert math.isclose(
        dead / sum(layer.weight.numel() for _, layer in sparse.masked_layers(model)), 1 - density, abs_tol=0.01
    )


@pytest.mark.parametrize(
    "recipe", [PhaseRecipe(momentum=0.0), PhaseRecipe(optimizer="adamw", betas=[0.0, 0.9])], ids=["sgd", "adamw"]
)
def test_no_momentum_is_refused(recipe):
    sparse_float().check_recipe(PhaseRecipe())
    sparse_float().check_recipe(PhaseRecipe(optimizer="adamw", betas=[0.1, 0.9]))
    with pytest.raises(ValueError, match=r"regrow by their momentum: train\.momentum must be above 0"):
        sparse_float().check_recipe(recipe)


@pytest.mark.parametrize("options", [{"density": 0.0}, {"density": 1.1}, {"prune_rate": 1.0}, {"prune_rate": -0.1}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InvalidOptions):
        sparse_float(**options)
