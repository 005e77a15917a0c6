"""Attacks that train cheaply: FGSM-RS, N-FGSM and free training, held against plain loops."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import REGISTRY, RUNTIME, THREAT, build, images
from torch import Tensor, nn
from torch.nn import functional

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import Ball
from robuststack.engine import data as data_module
from robuststack.engine import train as training
from robuststack.engine.random_streams import generator
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plan.planner import make_plan
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe

NORMS = [rs.Threat(eps=0.1), rs.Threat(norm="l2", eps=0.8)]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build(REGISTRY.create("defense", "none")).eval()


def gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(functional.cross_entropy(network(point), y, reduction="sum"), point)
    return slope


def perturbed(attack: rs.GradientAttack, network: nn.Module, threat: rs.Threat) -> Tensor:
    x, y = images()
    return attack.perturb(AttackedModel(View(network)), x, y, threat, generator(x.device, "test"), early_stop=False)


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_fgsm_rs_is_a_long_step_from_a_uniform_start(network, threat):
    x, y = images()
    ball = Ball.of(x, threat)
    start = ball.project(ball.random(generator(x.device, "test")))
    expected = ball.project(start + 1.25 * threat.eps * ball.steepest(gradient(network, start, y)))
    torch.testing.assert_close(perturbed(REGISTRY.create("attack", "fgsm_rs"), network, threat), expected)


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_n_fgsm_steps_from_noise_beyond_the_ball_and_stays_out_there(network, threat, noise):
    x, y = images()
    ball = Ball.of(x, threat)
    noisy = (x + noise * (ball.random(generator(x.device, "test")) - x)).clamp(0, 1)
    expected = (noisy + threat.eps * ball.steepest(gradient(network, noisy, y))).clamp(0, 1)
    made = perturbed(REGISTRY.create("attack", "n_fgsm", {"noise": noise}), network, threat)
    torch.testing.assert_close(made, expected)
    farthest = float(ball.length(made - x).max())
    assert (farthest > 1.2 * threat.eps) == (noise > 0)
    assert farthest <= (1 + noise) * threat.eps + 1e-5


def free_by_hand(network: nn.Module, batches: list[tuple[Tensor, Tensor]], replays: int, lr: float) -> None:
    """Algorithm 1 of Shafahi et al. 2019 with plain SGD, on adversarial images alone."""
    delta = torch.zeros_like(batches[0][0])
    for x, y in batches:
        for _ in range(replays):
            point = (x + delta).clamp(x - THREAT.eps, x + THREAT.eps).clamp(0, 1).detach().requires_grad_()
            network.zero_grad()
            with torch.no_grad():
                network(x)  # As PGD-AT does, for the statistics of the norms.
            functional.cross_entropy(network(point), y).backward()
            assert point.grad is not None
            moved = point.detach() + THREAT.eps * point.grad.sign()
            delta = moved.clamp(x - THREAT.eps, x + THREAT.eps).clamp(0, 1) - x
            with torch.no_grad():
                for weight in network.parameters():
                    weight -= lr * weight.grad


def test_free_training_is_the_papers_algorithm():
    defense, recipe = REGISTRY.create("defense", "pgd_at"), Recipe(epochs=1, momentum=0.0, weight_decay=0.0, lr=0.05)
    model = build(defense).train()
    by_hand = copy.deepcopy(model)
    x, y = images(16)
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    free_by_hand(by_hand, batches, 3, recipe.lr)
    state = training.begin(defense, model, recipe)
    step = training.Step(model, REGISTRY.create("attack", "free", {"replays": 3}), THREAT, RUNTIME, 1, 0)
    for number, batch in enumerate(batches):
        for replay in range(3):
            training.learn(step, defense, state.optimizer, *batch, 0, number, replay)
    for expected, weight in zip(by_hand.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)


def trained(attack: str, epochs: int = 2, until: int = 2) -> dict[str, Tensor]:
    """The weights after training on 24 images, interrupted after the epoch `until` and gone on with."""
    defense, recipe = REGISTRY.create("defense", "pgd_at"), Recipe(epochs=epochs, batch_size=8, lr=0.05)
    model, data = build(defense), data_module.Data(*images(24))
    state = training.begin(defense, model, recipe)

    class Stopped(Exception):
        pass

    def epoch_done(epoch: int, metrics: Any) -> None:
        if epoch == until < epochs:
            raise Stopped

    for _ in range(2):
        try:
            training.train(
                state, defense, data, REGISTRY.create("attack", attack), THREAT, recipe, RUNTIME,
                seed=0, augmentation=rs.Augmentation(), epoch_done=epoch_done, validation=data,
            )  # fmt: skip
        except Stopped:
            continue
        break
    assert state.epoch == epochs
    return {name: value.clone() for name, value in state.model.state_dict().items()}


@pytest.mark.parametrize("name", ["fgsm_rs", "n_fgsm", "free"])
def test_training_goes_on_after_an_epoch_as_if_nothing_had_been(name):
    whole, resumed = trained(name), trained(name, until=1)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("defense", ["pgd_at", "float", "oat", "adapter_soup", "random_resize"])
def test_defenses_that_attack_in_training_train_free(defense):
    """Every attack of a step has a perturbation of its own, which moves."""
    method = REGISTRY.create("defense", defense, {"random_resize": {"lambda": 1.0}, "oat": {"dim": 4}}.get(defense, {}))
    model = build(method).train()
    step = training.Step(model, REGISTRY.create("attack", "free", {"replays": 2}), THREAT, RUNTIME, 1, 0)
    state = training.begin(method, model, Recipe(lr=0.01))
    for replay in range(2):
        training.learn(step, method, state.optimizer, *images(), 0, 0, replay)
    assert step.free is not None
    assert step.free.perturbations
    for perturbation in step.free.perturbations.values():
        length = perturbation.abs().amax((1, 2, 3))
        assert (length > 0).all()
        assert (length <= THREAT.eps + 1e-6).all()


def test_the_batch_statistics_of_an_average_are_those_of_images_that_free_training_has_moved(monkeypatch):
    defense, recipe = REGISTRY.create("defense", "none"), Recipe(epochs=1, batch_size=8, lr=0.05, average="ema")
    moved: list[float] = []

    def attacked(step: training.Step) -> None:
        images = step.attack(View(step.model), step.x, step.y)
        if isinstance(step, training.Passes):
            moved.append(float((images.detach() - step.x).abs().max()))
        step.backward(functional.cross_entropy(step.model(images), step.y))

    monkeypatch.setattr(defense, "training_step", attacked)
    training.train(
        training.begin(defense, build(defense), recipe), defense, data_module.Data(*images(24)),
        REGISTRY.create("attack", "free"), THREAT, recipe, RUNTIME,
        seed=0, augmentation=rs.Augmentation(), epoch_done=lambda epoch, metrics: None,
    )  # fmt: skip
    assert moved == [pytest.approx(THREAT.eps, abs=1e-6)] * 3


SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 10, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 20, attack: %s}
defenses: pgd_at
attacks: %s
"""


def planned(tmp_path: Path, training_attack: str, attack: str) -> Any:
    (tmp_path / "suite.yaml").write_text(SUITE % (training_attack, attack))
    return make_plan(load_suite(tmp_path / "suite.yaml"), REGISTRY, Hardware("cpu", "float32"))


@pytest.mark.parametrize("name", ["n_fgsm", "free"])
def test_what_serves_training_only_is_refused_among_the_attacks(tmp_path, name):
    with pytest.raises(SuiteError) as error:
        planned(tmp_path, "fgsm", name)
    assert str(error.value).endswith(
        f"suite.yaml:6:1: attack {name!r} serves training only; give it as train.attack, and score with another"
    )


def test_the_work_of_free_training_counts_its_repetitions(tmp_path):
    work = {
        attack: next(job.work for job in planned(tmp_path, attack, "fgsm").jobs if job.kind == "train")
        for attack in ("{name: free, options: {replays: 4}}", "{name: free, options: {replays: 8}}", "n_fgsm")
    }
    four, eight, single = work.values()
    assert eight == 2 * four
    assert four / 4 < single, "a repetition needs no gradient beside that of training"


@pytest.mark.parametrize("defense", ["pgd_at", "trades", "mart"])
@pytest.mark.parametrize("attack", ["fgsm_rs", "n_fgsm", "pgd"])
def test_a_start_that_makes_the_attack_is_kept(defense, attack, monkeypatch):
    """TRADES and MART begin near the clean image; from there these attacks would be FGSM, which overfits."""
    asked = []

    class Asked(training.Step):
        def attack(self, view, x, y, loss=None, start=None):
            made = super().attack(view, x, y, loss, start)
            asked.append(Ball.of(x, THREAT).length(made - x).max())
            return made

    method = REGISTRY.create("defense", defense)
    made = REGISTRY.create("attack", attack, {"steps": 1} if attack == "pgd" else {})
    step = Asked(build(method).train(), made, THREAT, RUNTIME, 1, 0)
    starts = []
    plain = type(made).start
    monkeypatch.setattr(type(made), "start", lambda *arguments: starts.append(1) or plain(*arguments))
    step.begin(*images(), 0, 0)
    method.training_step(step)
    assert bool(starts) == (defense == "pgd_at" or attack != "pgd")
    assert (float(asked[0]) > 1.2 * THREAT.eps) == (attack == "n_fgsm")


@pytest.mark.parametrize("attack", ["fgsm", "fgsm_rs", "n_fgsm", "pgd", "cw_inf"])
@pytest.mark.parametrize("defense", ["trades", "mart", "pni"])
def test_each_attack_serves_each_loss(defense, attack):
    """TRADES attacks against probabilities, PNI against the network's own labels."""
    options = {"steps": 2, "restarts": 2} if attack in ("pgd", "cw_inf") else {}
    method = REGISTRY.create("defense", defense, {"warmup_epochs": 0} if defense == "pni" else {})
    step = training.Step(build(method).train(), REGISTRY.create("attack", attack, options), THREAT, RUNTIME, 1, 0)
    step.begin(*images(), 0, 0)
    method.training_step(step)
    assert step.attacked
    assert float(step.loss) > 0
