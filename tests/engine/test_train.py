"""The training loop: schedules, failures, resuming, and what each defense does with a batch."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.data import Data
from robuststack.engine.jobs import execute
from robuststack.engine.runtime import Runtime
from robuststack.engine.workspace import Workspace
from robuststack.errors import JobFailed
from robuststack.hardware import Hardware
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.dual_norm import DualNorm
from robuststack.layers.folding import FoldedView
from robuststack.layers.noise import NoisyConv2d
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe

REGISTRY = Registry()
HARDWARE = Hardware("cpu", "float32")
RUNTIME = Runtime(HARDWARE)
THREAT = rs.Threat(eps=0.1)
SHAPE, CLASSES, BATCH = (3, 8, 8), 4, 8

DEFENSES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "pgd_at": ("pgd_at", {"lambda": 0.5}),
    "float": ("float", {}),
    "float code": ("float", {"recipe": "code"}),
    "oat": ("oat", {"dim": 4}),
    "oat dim 1": ("oat", {"dim": 1}),
}


def defense_of(name: str) -> rs.Defense:
    registered, options = DEFENSES[name]
    return REGISTRY.create("defense", registered, options)


def build(defense: rs.Defense, seed: int = 0) -> nn.Module:
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    return RUNTIME.place(models.build(defense, architecture, SHAPE, CLASSES, seed))


def make_data(count: int = 20) -> Data:
    source = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (count,), generator=source)
    return Data(torch.rand(count, *SHAPE, generator=source), labels)


def recipe_of(**changes: Any) -> Recipe:
    return Recipe(**{"epochs": 3, "batch_size": BATCH, "lr": 0.05, **changes})


def run(
    defense: rs.Defense,
    state: training.State,
    recipe: Recipe,
    *,
    epoch_done: Callable[[int, Mapping[str, float]], None] = lambda epoch, metrics: None,
    seed: int = 0,
) -> training.State:
    attack = REGISTRY.create("attack", "pgd", {"steps": 2, "draws": 1})
    return training.train(
        state, defense, make_data(), attack, THREAT, recipe, RUNTIME,
        seed=seed, augmentation=rs.Augmentation(pad=1, flip=True), epoch_done=epoch_done,
    )  # fmt: skip


def fresh(defense: rs.Defense, recipe: Recipe) -> training.State:
    return training.begin(defense, build(defense), recipe)


def step_of(defense: rs.Defense, model: nn.Module, steps: int = 2) -> training.Step:
    """One batch of `BATCH` images, ready for the defense's training step."""
    attack = REGISTRY.create("attack", "pgd", {"steps": steps, "draws": 1})
    step = training.Step(model.train(), attack, THREAT, RUNTIME, 3, 0)
    data = make_data(BATCH)
    step.begin(data.images, data.labels, 0, 0)
    return step


# The learning rate


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


# Failures


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


# Resuming


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def saved(state: training.State) -> bytes:
    buffer = io.BytesIO()
    torch.save([state.model.state_dict(), state.optimizer.state_dict(), state.epoch], buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "sgd") for name in DEFENSES), ("none", "adamw"), ("float", "adamw")]
)
def test_resuming_after_any_epoch_ends_with_the_same_weights(name, optimizer):
    defense, recipe = defense_of(name), recipe_of(optimizer=optimizer)
    whole, kept = fresh(defense, recipe), {}
    run(defense, whole, recipe, epoch_done=lambda epoch, _: kept.update({epoch: saved(whole)}))
    for epoch in (1, 2):
        torch.manual_seed(99 + epoch)  # Nothing may depend on the state of the default generator.
        resumed = fresh(defense, recipe)
        model, optimizer, resumed.epoch = torch.load(io.BytesIO(kept[epoch]), weights_only=True)
        resumed.model.load_state_dict(model)
        resumed.optimizer.load_state_dict(optimizer)
        run(defense, resumed, recipe)
        assert equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_forgetting_the_optimiser_would_be_noticed(optimizer):
    defense, recipe = defense_of("none"), recipe_of(optimizer=optimizer)
    whole, kept = fresh(defense, recipe), {}
    run(defense, whole, recipe, epoch_done=lambda epoch, _: kept.update({epoch: weights(whole.model)}))
    resumed = fresh(defense, recipe)
    resumed.model.load_state_dict(kept[1])
    resumed.epoch = 1
    run(defense, resumed, recipe)
    assert not equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("name", ["none", "float", "oat"])
def test_seeds_decide_the_weights(name):
    defense, recipe = defense_of(name), recipe_of(epochs=1)
    first, again, other = (weights(run(defense, fresh(defense, recipe), recipe, seed=s).model) for s in (0, 0, 1))
    assert equal(first, again)
    assert not equal(first, other)


SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 10, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 20, attack: {name: pgd, options: {steps: 2}}}
defenses: [none, pgd_at, float, {name: oat, options: {dim: 4}}]
attacks: fgsm
"""


class Killed(Exception):
    """Stands for the end of the process."""


def train_jobs(folder: Path, die_after: int | None = None) -> dict[str, bytes]:
    """The files of the suite's train jobs, run one after another; each may be killed once and run again."""
    folder.mkdir()
    (folder / "suite.yaml").write_text(SUITE)
    plan = make_plan(load_suite(folder / "suite.yaml"), REGISTRY, HARDWARE)
    store, files = Store(folder / "store"), {}

    def report(event: str, **facts: Any) -> None:
        if facts["epoch"] == die_after:
            raise Killed

    for job in (planned for planned in plan.jobs if planned.kind == "train"):
        if die_after:
            with pytest.raises(Killed):
                execute(job, Workspace(REGISTRY, store, folder, HARDWARE), report)
            assert not store.has(job.id, job.digest)
            assert store.load_checkpoint(job.id, job.digest).epoch == die_after
        result = execute(job, Workspace(REGISTRY, store, folder, HARDWARE), lambda event, **facts: None)
        assert len(result["history"]) == len(result["epoch_seconds"]) == 3
        files[job.label] = store.read(job.id, "model.safetensors")
    return files


def test_a_killed_train_job_goes_on_and_ends_with_the_same_file(tmp_path):
    whole = train_jobs(tmp_path / "whole")
    assert len(whole) == 4
    assert train_jobs(tmp_path / "killed", die_after=2) == whole


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
        assert metrics.keys() == {"loss", "steps", "seconds", "all", "half", "few"}
        assert metrics["all"] == metrics["few"] == 100
        assert metrics["half"] == 50


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_reports_its_accuracies(name):
    defense = defense_of(name)
    state = run(defense, fresh(defense, recipe_of(epochs=1)), recipe_of(epochs=1))
    expected = {"loss", "steps", "seconds", "ca"} | ({"ra"} if name != "none" else set())
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


# What the defenses do with a batch


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
