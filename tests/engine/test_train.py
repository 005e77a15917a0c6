"""The training loop: losses that fail, what is observed, parameters that learn, and the training attack."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import train as training
from robuststack.engine.runtime import Runtime
from robuststack.errors import JobFailed
from robuststack.hardware import Hardware
from robuststack.layers.folding import FoldedView
from robuststack.layers.noise import NoisyConv2d
from training_runs import (
    BATCH,
    CLASSES,
    DEFENSES,
    REGISTRY,
    THREAT,
    build,
    defense_of,
    equal,
    fresh,
    make_data,
    recipe_of,
    run,
    step_of,
    weights,
)


class Failing(rs.Defense):
    """Its loss is no number at one step."""

    at = (1, 1)

    def training_step(self, step):
        loss = step.model(step.x).square().mean()
        self.steps = getattr(self, "steps", -1) + 1
        step.backward(loss * torch.nan if (step.epoch, self.steps % 2) == self.at else loss)


def test_a_loss_that_is_no_number_is_reported_with_epoch_and_step():
    done, defense = [], Failing()
    state = fresh(defense, recipe_of())
    with pytest.raises(JobFailed, match=r"the loss is nan in epoch 2, step 2; a smaller train\.lr than 0\.05 may help"):
        run(defense, state, recipe_of(), epoch_done=lambda epoch, _: done.append(epoch))
    assert done == [1]
    assert state.epoch == len(state.history) == 1


def test_a_rate_that_blows_up_is_a_failure_and_no_result():
    recipe = recipe_of(lr=1e30)
    with pytest.raises(JobFailed, match=r"the loss is (nan|inf) in epoch"):
        run(defense_of("none"), fresh(defense_of("none"), recipe), recipe)


# What an epoch reports


class Observing(rs.Defense):
    """Observes what it was told to."""

    def training_step(self, step):
        right = nn.functional.one_hot(step.y, CLASSES).float()
        step.observe("all", right, step.y)
        half = right.clone()
        half[: BATCH // 2] *= -1
        step.observe("half", half, step.y)
        step.observe("few", right[:2], step.y[:2])
        step.backward(step.model(step.x).square().mean())


def test_what_a_defense_observes_becomes_an_epochs_accuracy():
    defense, seen = Observing(), []
    run(defense, fresh(defense, recipe_of(epochs=2)), recipe_of(epochs=2), epoch_done=lambda *_: seen.append(_))
    assert [epoch for epoch, _ in seen] == [1, 2]
    for _, metrics in seen:
        assert metrics.keys() == {"loss", "steps", "table_draws", "seconds", "all", "half", "few"}
        assert metrics["all"] == metrics["few"] == 100
        assert metrics["half"] == 50


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_reports_its_accuracies(name):
    defense = defense_of(name)
    state = run(defense, fresh(defense, recipe_of(epochs=1)), recipe_of(epochs=1))
    expected = {"loss", "steps", "table_draws", "seconds", "ca"} | ({"ra"} if name != "none" else set())
    assert state.history[0].keys() == expected


def test_several_backward_passes_of_a_step_add_up():
    class Twice(rs.Defense):
        def training_step(self, step):
            for factor in (0.25, 0.75):
                step.backward(factor * nn.functional.cross_entropy(step.model(step.x), step.y))

    model = build(Twice())
    once, twice = copy.deepcopy(model), model
    first, second = step_of(rs.Defense(), once), step_of(Twice(), twice)
    first.backward(nn.functional.cross_entropy(once(first.x), first.y))
    Twice().training_step(second)
    torch.testing.assert_close(second.loss, first.loss)
    for a, b in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(("decayed", "expected"), [(True, 0.01), (False, 0.0)])
def test_alpha_is_decayed_or_not(decayed, expected):
    defense = REGISTRY.create("defense", "float", {"alpha_weight_decay": decayed})
    model = build(defense)
    others, alphas = defense.parameter_groups(model, 0.01)
    assert others["weight_decay"] == 0.01
    assert alphas["weight_decay"] == expected
    assert {id(parameter) for parameter in alphas["params"]} == {
        id(module.alpha) for module in model.modules() if isinstance(module, NoisyConv2d)
    }
    assert len(others["params"]) + len(alphas["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", [defense for defense in DEFENSES if defense.startswith("float")])
def test_the_noise_of_a_trained_model_has_the_standard_deviation_of_its_weights(name):
    defense = defense_of(name)
    model = run(defense, fresh(defense, recipe_of()), recipe_of()).model
    for layer in (module for module in model.modules() if isinstance(module, NoisyConv2d)):
        torch.testing.assert_close(layer.weight_std(), layer.weight.detach().std())


def test_the_training_attack_stays_in_the_ball_and_can_take_another_loss_and_start():
    model = build(rs.Defense())
    step = step_of(rs.Defense(), model)
    view = rs.Defense().view(model, rs.Setting())

    def confidence(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append(targets)
        return (logits.log_softmax(1) * targets).sum(1)

    seen: list[Tensor] = []
    targets = torch.full((BATCH, CLASSES), 1 / CLASSES)
    for start in (None, "uniform", "normal", "zero"):
        adversarial = step.attack(view, step.x, targets, loss=confidence, start=start)
        assert float((adversarial - step.x).abs().max()) <= THREAT.eps + 1e-6
        assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
        assert not adversarial.requires_grad
    assert len(seen) == 4 * 2
    assert not torch.equal(step.attack(view, step.x, step.y), step.attack(view, step.x, step.y)), "fresh starts"


def test_the_same_seed_builds_the_same_network_and_another_another():
    defense = defense_of("oat")
    first, again, other = (weights(build(defense, seed)) for seed in (0, 0, 1))
    assert equal(first, again)
    assert not equal(first, other)


# Lower precision


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", [*DEFENSES, "pgd_at alone"])
def test_every_parameter_learns_in_every_precision(name, precision):
    """Older torch keeps weight casts made under no_grad, and would then train nothing but norms and biases."""
    defense = REGISTRY.create("defense", "pgd_at", {"lambda": 1.0}) if name == "pgd_at alone" else defense_of(name)
    runtime = Runtime(Hardware("cpu", precision))
    model = build(defense)
    step = training.Step(model.train(), REGISTRY.create("attack", "pgd", {"steps": 2}), THREAT, runtime, 1, 0)
    data = make_data(BATCH)
    step.begin(data.images, data.labels, 0, 0)
    with runtime.autocast():
        defense.training_step(step)
    assert [path for path, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_training_attack_is_on_the_folded_network_in_every_precision(precision):
    """Autocast's rounding, far above what folding may differ by, must not look like a layer that cannot be folded."""
    seen = []

    class Watched:
        replays = 1

        def perturb(self, model, x, *others, **options):
            seen.append(model.view)
            return x

    defense, runtime = defense_of("float"), Runtime(Hardware("cpu", precision))
    step = training.Step(build(defense).train(), Watched(), THREAT, runtime, 1, 0)
    data = make_data(BATCH)
    step.begin(data.images, data.labels, 0, 0)
    with runtime.autocast():
        defense.training_step(step)
    assert [type(view) for view in seen] == [FoldedView]
