"""Which images pass through a network in a training step, in which branch and with which noise: as the algorithms say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine import train as training
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.dual_norm import DualNorm
from training_runs import BATCH, DEFENSES, REGISTRY, build, defense_of, step_of


def forwarded(name: str, **options: Any) -> tuple[list[tuple[int, bool]], training.Step, nn.Module]:
    """(images, in train mode) of each forward pass of one training step."""
    registered, given = DEFENSES[name]
    defense = REGISTRY.create("defense", registered, {**given, **options})
    model, seen = build(defense), []
    model.register_forward_pre_hook(lambda module, args: seen.append((args[0].shape[0], module.training)))
    step = step_of(defense, model)
    torch.manual_seed(0)
    defense.training_step(step)
    return seen, step, model


HALF = BATCH // 2
CLEAN_PASS, HALF_PASS, ATTACKED_HALF = (BATCH, True), (HALF, True), [(HALF, False)] * 2
CODE = [CLEAN_PASS, *ATTACKED_HALF, HALF_PASS]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("none", {}, [CLEAN_PASS]),
        ("pgd_at", {"lambda": 0.5}, [CLEAN_PASS, *[(BATCH, False)] * 2, CLEAN_PASS]),
        ("pgd_at", {"lambda": 1.0}, [CLEAN_PASS, *[(BATCH, False)] * 2, CLEAN_PASS]),
        ("pgd_at", {"lambda": 0.0}, [CLEAN_PASS]),
        ("float", {"recipe": "paper"}, [HALF_PASS, *ATTACKED_HALF, HALF_PASS]),
        ("float", {"recipe": "code"}, CODE),
        ("oat", {}, [CLEAN_PASS, *[(6, False)] * 2, (6, True)]),
        # A pair of lambdas: one half clean.
        ("oat", {"lambdas": [0.0, 1.0]}, CODE),
        # ceil(8 / 3) = 3 clean images.
        ("oat", {"lambdas": [0.0, 0.5, 1.0]}, [CLEAN_PASS, *[(5, False)] * 2, (5, True)]),
    ],
)
@pytest.mark.usefixtures("unfolded")
def test_each_defense_uses_as_many_images_as_its_algorithm_says(name, options, expected):
    seen, _, _ = forwarded(name, **options)
    assert seen == expected


@pytest.mark.parametrize("name", DEFENSES)
def test_the_training_attack_leaves_the_model_in_train_mode_and_learning(name):
    _, _, model = forwarded(name)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def batch_norms(model: nn.Module) -> list[int]:
    return [int(module.num_batches_tracked) for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def branches(model: nn.Module, index: int) -> list[int]:
    return [
        int(module.branches[index].num_batches_tracked) for module in model.modules() if isinstance(module, DualNorm)
    ]


def test_adversarial_training_alone_still_learns_statistics_from_clean_images():
    _, step, model = forwarded("pgd_at", **{"lambda": 1.0})
    assert set(batch_norms(model)) == {2}
    assert step.seen["ca"][1] == BATCH

    # The first norm sees the stem's clean and then its adversarial output; undo the second to find the first.
    defense = REGISTRY.create("defense", "pgd_at", {"lambda": 1.0})
    model, outputs = build(defense), []
    model.stem_norm.register_forward_pre_hook(lambda module, args: outputs.append(args[0].detach()))
    defense.training_step(step_of(defense, model))
    first, last = outputs[0].mean((0, 2, 3)), outputs[-1].mean((0, 2, 3))
    torch.testing.assert_close(model.stem_norm.running_mean, 0.9 * 0.1 * first + 0.1 * last)


def test_adversarial_training_alone_takes_no_gradient_from_clean_images():
    model = build(defense_of("pgd_at"))
    defense = REGISTRY.create("defense", "pgd_at", {"lambda": 1.0})
    step = step_of(defense, model)
    step.attack = lambda view, x, y: torch.full_like(x, 0.5)
    defense.training_step(step)
    gradients = [parameter.grad for parameter in model.parameters()]
    other = build(defense_of("pgd_at")).train()
    nn.functional.cross_entropy(other(torch.full_like(step.x, 0.5)), step.y).backward()
    for a, b in zip(gradients, other.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)


@pytest.mark.parametrize(("name", "clean", "adversarial"), [("float", 1, 1), ("float code", 1, 2), ("oat", 1, 2)])
def test_clean_and_adversarial_images_pass_through_the_branches_of_the_algorithm(name, clean, adversarial):
    _, _, model = forwarded(name)
    assert set(branches(model, CLEAN)) == {clean}
    assert set(branches(model, ADVERSARIAL)) == {adversarial}


@pytest.mark.parametrize(("recipe", "weights_"), [("paper", (0.5, 0.5)), ("code", (0.5, 0.25))])
def test_float_weighs_its_losses_as_the_recipe_says(recipe, weights_):
    defense = REGISTRY.create("defense", "float", {"recipe": recipe})
    model, logits = build(defense), []
    model.register_forward_hook(lambda module, args, out: logits.append(out.detach()) if module.training else None)
    step = step_of(defense, model)
    defense.training_step(step)
    clean, adversarial = logits
    expected = weights_[0] * nn.functional.cross_entropy(clean, step.y[: len(clean)])
    expected += weights_[1] * nn.functional.cross_entropy(adversarial, step.y[HALF:])
    torch.testing.assert_close(step.loss, expected)


@pytest.mark.usefixtures("unfolded")
def test_float_trains_clean_images_without_noise_and_attacks_the_noisy_model():
    defense = defense_of("float")
    model, scales = build(defense), []
    model.register_forward_pre_hook(
        lambda module, args: scales.append(
            (module.condition.read("noise"), module.condition.read("branch"), module.training)
        )
    )
    defense.training_step(step_of(defense, model))
    assert scales == [(0.0, 0, True), (1.0, 1, False), (1.0, 1, False), (1.0, 1, True)]


@pytest.mark.usefixtures("unfolded")
def test_oat_weighs_every_image_by_its_own_lambda():
    defense = REGISTRY.create("defense", "oat", {"dim": 1})
    model, passes = build(defense), []

    def remember(module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        passes.append((module.training, module.condition.read("code").flatten(), module.condition, out.detach()))

    model.register_forward_hook(remember)
    step = step_of(defense, model)
    torch.manual_seed(3)
    defense.training_step(step)
    clean, adversarial = (number for number in passes if number[0])
    lambdas = clean[1]
    assert lambdas[:2].tolist() == [0, 0]
    assert {round(value, 6) for value in lambdas[2:].tolist()} <= {0.2, 0.7, 1.0}
    torch.testing.assert_close(adversarial[1], lambdas[2:])
    assert all(torch.equal(number[1], lambdas[2:]) for number in passes if not number[0]), (
        "each attacked at its own lambda"
    )
    losses = nn.functional.cross_entropy(clean[3], step.y, reduction="none") * (1 - lambdas)
    losses[2:] += nn.functional.cross_entropy(adversarial[3], step.y[2:], reduction="none") * lambdas[2:]
    torch.testing.assert_close(step.loss, losses.mean())


def test_oat_draws_all_its_lambdas():
    defense, seen = REGISTRY.create("defense", "oat", {"dim": 1}), []
    model = build(defense)
    step = step_of(defense, model)
    model.register_forward_hook(lambda module, args, out: seen.extend(module.condition.read("code").flatten().tolist()))
    torch.manual_seed(0)
    for _ in range(10):
        defense.training_step(step)
    assert sorted(set(seen)) == pytest.approx([0, 0.2, 0.7, 1])
