"""Averages of weights: what is averaged, whose batch statistics are scored, and that a resumed run averages the same."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from robuststack.engine import train as training
from robuststack.errors import PluginError
from robuststack.plugin.options import parse
from robuststack.suite.recipe import PhaseRecipe, Recipe
from training_runs import REGISTRY, RUNTIME, THREAT, defense_of, equal, fresh, make_data, recipe_of, run, weights


def trajectory(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> tuple[training.State, list[dict[str, torch.Tensor]]]:
    """A trained state, and the parameters after each step."""
    steps: list[dict[str, torch.Tensor]] = []
    plain = training.learn

    def learn(step: training.Step, *arguments: Any) -> None:
        plain(step, *arguments)
        steps.append({name: weight.detach().clone() for name, weight in step.model.named_parameters()})

    defense = defense_of("pgd_at")
    with monkeypatch.context() as patch:
        patch.setattr(training, "learn", learn)
        return run(defense, fresh(defense, recipe), recipe), steps


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_ema_is_the_average_of_a_plain_loop(monkeypatch, decay):
    state, steps = trajectory(monkeypatch, recipe_of(average="ema", average_decay=decay))
    expected = steps[0]
    for number, step in enumerate(steps[1:], 1):
        keep = min(decay, (1 + number) / (10 + number))
        expected = {name: keep * expected[name] + (1 - keep) * weight for name, weight in step.items()}
    assert len(steps) == 6
    for name, weight in state.model.named_parameters():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=1e-5)
        assert not torch.equal(weight, steps[-1][name])


@pytest.mark.parametrize(("start", "epochs"), [(2, [1, 2]), (None, [2])])
def test_swa_is_the_mean_over_the_last_epochs(monkeypatch, start, epochs):
    state, steps = trajectory(monkeypatch, recipe_of(average="swa", average_from=start))
    ends = [steps[2 * epoch + 1] for epoch in epochs]
    for name, weight in state.model.named_parameters():
        torch.testing.assert_close(weight, sum(end[name] for end in ends) / len(ends), atol=1e-6, rtol=1e-5)


def test_the_batch_statistics_are_those_of_the_averaged_network():
    defense, recipe = defense_of("none"), recipe_of(average="ema", average_decay=0.5, batch_size=20)
    state = run(defense, fresh(defense, recipe), recipe)
    # In this recipe an epoch has one batch: its statistics are what the stem's norm must hold.
    model, seen = copy.deepcopy(state.model).eval(), []
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x, _ = next(training.training_batches(make_data(), 20, training.Augmentation(pad=1, flip=True), 0, 2))
    with torch.no_grad():
        model(x)
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_batch_statistics_are_those_of_the_epochs_steps(monkeypatch):
    """A defense may train its first epochs in another way."""
    defense, recipe = defense_of("none"), recipe_of(average="ema")
    plain, epochs = defense.training_step, []

    def noted(step: training.Step) -> None:
        if isinstance(step, training.Passes):
            epochs.append(step.epoch)
        plain(step)

    monkeypatch.setattr(defense, "training_step", noted)
    run(defense, fresh(defense, recipe), recipe)
    assert set(epochs) == {2}


def test_averaging_disturbs_no_training(monkeypatch):
    _, averaged = trajectory(monkeypatch, recipe_of(average="ema"))
    _, plain = trajectory(monkeypatch, recipe_of())
    assert all(equal(first, second) for first, second in zip(averaged, plain, strict=True))


def test_a_resumed_run_goes_on_with_the_average():
    defense, recipe = defense_of("float"), recipe_of(average="ema")
    whole, kept = fresh(defense, recipe), {}

    def keep(epoch: int, metrics: Any) -> None:
        buffer = io.BytesIO()
        assert whole.average
        parts = [whole.model, whole.average.model]
        torch.save([*(part.state_dict() for part in parts), whole.optimizer.state_dict(), whole.average.count], buffer)
        kept[epoch] = buffer.getvalue()

    run(defense, whole, recipe, epoch_done=keep)
    resumed = fresh(defense, recipe)
    assert resumed.average
    model, average, optimizer, resumed.average.count = torch.load(io.BytesIO(kept[2]), weights_only=True)
    resumed.model.load_state_dict(model)
    resumed.average.model.load_state_dict(average)
    resumed.optimizer.load_state_dict(optimizer)
    resumed.epoch = 2
    assert equal(weights(run(defense, resumed, recipe).model), weights(whole.model))


def test_the_best_checkpoint_is_one_of_the_average(monkeypatch):
    validated = []

    def ra(model: torch.nn.Module, *arguments: Any) -> float:
        validated.append(weights(model))
        return [10.0, 30.0, 20.0][len(validated) - 1]

    monkeypatch.setattr(training, "validation_ra", ra)
    defense, recipe = defense_of("none"), recipe_of(average="ema", checkpoint="best")
    attack = REGISTRY.create("attack", "pgd", {"steps": 2, "draws": 1})
    state = training.train(
        fresh(defense, recipe), defense, make_data(), attack, THREAT, recipe, RUNTIME, seed=0,
        augmentation=training.Augmentation(), epoch_done=lambda epoch, metrics: None, validation=make_data(8),
    )  # fmt: skip
    assert state.best
    assert state.best.epoch == 2
    assert equal(weights(state.model), validated[1])


def test_a_mask_holds_for_the_average():
    defense = REGISTRY.create("defense", "floats_sparse", {"density": 0.3})
    recipe = recipe_of(average="ema", average_decay=0.5)
    model = run(defense, fresh(defense, recipe), recipe).model
    masked = [layer for layer in model.modules() if "mask" in dict(layer.named_buffers(recurse=False))]
    assert masked
    assert all(not layer.weight[~layer.mask].any() for layer in masked)


def test_looking_at_the_average_leaves_it_as_it_is(monkeypatch):
    """Of sparse weights too, which are set to zero before they are scored: the average of the last epoch is the same
    whether or not those before it were looked at."""
    monkeypatch.setattr(training, "validation_ra", lambda model, *arguments: float(arguments[-1]))
    defense = REGISTRY.create("defense", "floats_sparse", {"density": 0.3})
    ends = []
    for checkpoint in ("last", "best"):
        recipe = recipe_of(average="ema", average_decay=0.5, checkpoint=checkpoint)
        attack = REGISTRY.create("attack", "pgd", {"steps": 2, "draws": 1})
        state = training.train(
            fresh(defense, recipe), defense, make_data(), attack, THREAT, recipe, RUNTIME, seed=0,
            augmentation=training.Augmentation(), epoch_done=lambda epoch, metrics: None, validation=make_data(8),
        )  # fmt: skip
        assert state.best is None or state.best.epoch == 3
        ends.append(weights(state.model))
    assert equal(*ends)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"average_decay": 0.9}, "average_decay is a key of average: ema"),
        ({"average": "swa", "average_decay": 0.9}, "average_decay is a key of average: ema"),
        ({"average": "ema", "average_from": 2}, "average_from is a key of average: swa"),
        ({"average": "swa", "average_from": 4, "epochs": 3}, "average_from 4 is behind the last epoch, 3"),
    ],
)
def test_keys_that_mean_nothing_are_refused(keys, message):
    with pytest.raises(PluginError, match=message):
        parse(PhaseRecipe, keys)


@pytest.mark.parametrize(
    ("keys", "text"),
    [({}, ""), ({"average": "ema"}, "ema, decay 0.999"), ({"average": "swa", "epochs": 8}, "swa, from epoch 7")],
)
def test_a_recipe_says_which_weights_are_scored_and_is_read_back(keys, text):
    recipe = parse(Recipe, keys)
    assert recipe.average_text == text
    assert parse(Recipe, recipe.model_dump(mode="json")).shared == recipe.shared
    assert ("average" in recipe.resolved()) == bool(text)
