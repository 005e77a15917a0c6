"""Learning rates and optimisers follow the recipe."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.engine import train as training
from robuststack.suite.recipe import Recipe
from training_runs import defense_of, fresh, recipe_of, run


@pytest.mark.parametrize("epoch", [0, 1, 50, 199])
def test_the_cosine_schedule_is_the_formula(epoch):
    expected = 0.05 + 0.05 * math.cos(math.pi * epoch / 200)
    assert training.learning_rate(Recipe(epochs=200, lr=0.1), epoch) == pytest.approx(expected)


def test_the_cosine_falls_all_the_way_and_never_reaches_zero():
    rates = [training.learning_rate(Recipe(epochs=30, lr=0.1), epoch) for epoch in range(30)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.1
    assert 0 < rates[-1] < 0.001


def test_steps_multiply_at_each_milestone():
    recipe = Recipe(epochs=160, lr=0.1, schedule="steps", milestones=[80, 120], gamma=0.1)
    rates = {epoch: training.learning_rate(recipe, epoch) for epoch in (0, 79, 80, 119, 120, 159)}
    assert rates == pytest.approx({0: 0.1, 79: 0.1, 80: 0.01, 119: 0.01, 120: 0.001, 159: 0.001})


def test_constant_is_constant():
    recipe = Recipe(epochs=9, lr=0.3, schedule="constant")
    assert {training.learning_rate(recipe, epoch) for epoch in range(9)} == {0.3}


def test_each_epoch_runs_at_its_rate():
    defense, recipe, seen = defense_of("none"), recipe_of(epochs=4), []
    state = fresh(defense, recipe)
    run(defense, state, recipe, epoch_done=lambda *_: seen.append(state.optimizer.param_groups[0]["lr"]))
    assert seen == [training.learning_rate(recipe, epoch) for epoch in range(4)]


def test_the_optimiser_follows_the_recipe():
    recipe = recipe_of(momentum=0.7, nesterov=True, weight_decay=0.01)
    (group,) = fresh(defense_of("none"), recipe).optimizer.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.7, True, 0.01)


def test_adamw_is_torchs_with_the_recipes_numbers():
    recipe = recipe_of(optimizer="adamw", lr=0.02, betas=[0.8, 0.95], weight_decay=0.3)
    optimizer = fresh(defense_of("none"), recipe).optimizer
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.02, (0.8, 0.95), 0.3)
    assert fresh(defense_of("float"), recipe_of(optimizer="adamw")).optimizer.param_groups[1]["weight_decay"] == 0.01


def test_a_step_of_adamw_is_the_papers_formula():
    """Algorithm 2 of Loshchilov and Hutter: w (1 - lr decay) - lr m / (sqrt(v) + eps), both means without their bias."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    recipe = recipe_of(optimizer="adamw", lr=0.1, betas=[0.8, 0.9], weight_decay=0.5)
    optimizer = training.make_optimizer([{"params": [weight], "weight_decay": recipe.weight_decay}], recipe)
    expected, first, second = weight.detach().clone(), torch.zeros(2), torch.zeros(2)
    for step, gradient in enumerate(torch.tensor([[0.3, -1.0], [0.2, 4.0]]), start=1):
        weight.grad = gradient.clone()
        optimizer.step()
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
        move = first / (1 - 0.8**step) / ((second / (1 - 0.9**step)).sqrt() + 1e-8)
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * move
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("keys", [{}, {"nesterov": True}, {"momentum": 0.0}, {"optimizer": "adamw"}], ids=str)
def test_a_weight_may_get_its_first_gradient_late(keys):
    """A part that the first epochs leave alone then begins as if it were alone."""
    early, late = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    recipe = recipe_of(lr=0.1, weight_decay=0.01, **keys)
    optimizer = training.make_optimizer([{"params": [early, late], "weight_decay": 0.01}], recipe)
    seen = []
    for step in range(5):
        optimizer.zero_grad(set_to_none=True)
        early.grad = torch.full((3,), 1.0 + step)
        if step >= 2:
            late.grad = torch.full((3,), 1.0 + step - 2)
        optimizer.step()
        seen.append((early.detach().clone(), late.detach().clone()))
    assert torch.equal(seen[1][1], torch.ones(3))
    if recipe.optimizer == "adamw" or keys == {"momentum": 0.0}:
        return
    expected, velocity = torch.ones(3), torch.zeros(3)
    for step in range(3):
        gradient = 1.0 + step + 0.01 * expected
        velocity = 0.9 * velocity + gradient
        expected = expected - 0.1 * (gradient + 0.9 * velocity if recipe.nesterov else velocity)
        torch.testing.assert_close(seen[2 + step][1], expected)


def test_a_groups_own_rate_follows_the_schedule():
    class Slow(rs.Defense):
        def training_step(self, step):
            plain.training_step(step)

        def parameter_groups(self, model, weight_decay):
            body, head = [], []
            for name, weight in model.named_parameters():
                (head if name.startswith("classifier") else body).append(weight)
            return [
                {"params": body, "weight_decay": weight_decay, "lr": 0.0},
                {"params": head, "weight_decay": weight_decay, "lr": 0.5 * recipe.lr},
            ]

    plain, recipe, seen = defense_of("none"), recipe_of(epochs=4), []
    defense = Slow({})
    state = fresh(defense, recipe)
    body = state.model.stem.weight.detach().clone()
    run(defense, state, recipe, epoch_done=lambda *_: seen.append([g["lr"] for g in state.optimizer.param_groups]))
    assert seen == [[0.0, 0.5 * training.learning_rate(recipe, epoch)] for epoch in range(4)]
    assert torch.equal(state.model.stem.weight, body)
