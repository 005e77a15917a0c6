"""Our attacks against those of other libraries, with equal options, on models that were trained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import foolbox
import pytest
import torch
import torchattacks
from torch import Tensor

import robuststack as rs
from peers import REGISTRY, Difference, Rand, compare_rand, images, perturb, right, view
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.starts import zero_start
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from trained import Trained

RUNTIME = Runtime(Hardware("cpu", "float32"))
COUNT = 500
STEPS = 10
# Radii at which the attack fools some images and not others, or agreement would say nothing.
CASES = {"none": ({}, 0.02), "oat": ({"lambda": 0.0}, 0.07)}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, trained: Trained) -> tuple[View, float]:
    """A deterministic model and a radius."""
    point, eps = CASES[request.param]
    return view(trained, request.param, **point), eps


@cache
def ours(name: str, attacked: View, eps: float, **options: object) -> Tensor:
    """Our attack from the clean image, since libraries draw their random starts in orders of their own."""
    attack: rs.GradientAttack = REGISTRY.create("attack", name, options)
    x, y = images(COUNT)
    with frozen_eval(attacked):
        source = generator(x.device, 0)
        return attack.perturb(AttackedModel(attacked, RUNTIME), x, y, rs.Threat(eps=eps), source, start=zero_start)


@cache
def by_torchattacks(name: str, attacked: View, eps: float) -> Tensor:
    step = 2.5 * eps / STEPS
    with frozen_eval(attacked):
        if name == "fgsm":
            attack = torchattacks.FGSM(attacked, eps=eps)
        else:
            attack = torchattacks.PGD(attacked, eps=eps, alpha=step, steps=STEPS, random_start=False)
        return attack(*images(COUNT))


@cache
def by_foolbox(name: str, attacked: View, eps: float) -> Tensor:
    step = 2.5 * eps / STEPS
    x, y = images(COUNT)
    if name == "fgsm":
        attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    else:
        attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=STEPS, random_start=False)
    with frozen_eval(attacked):
        model = foolbox.PyTorchModel(attacked, bounds=(0, 1), device=x.device)
        return attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=eps)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("library", [by_torchattacks, by_foolbox])
def test_our_verdicts_are_those_of_other_libraries(case, name, library):
    attacked, eps = case
    y = images(COUNT)[1]
    options = {"steps": STEPS} if name == "pgd" else {}
    mine, theirs = (
        right(attacked, batch, y) for batch in (ours(name, attacked, eps, **options), library(name, attacked, eps))
    )
    assert 0.05 < float(theirs.mean()) < 0.95 * float(right(attacked, *images(COUNT)).mean())
    assert float((mine == theirs).float().mean()) >= 0.99


def test_other_options_would_show(trained):
    attacked, eps = view(trained, "none"), 0.02
    y = images(COUNT)[1]
    theirs = right(attacked, by_foolbox("pgd", attacked, eps), y)
    mine = right(attacked, ours("pgd", attacked, eps, steps=STEPS, step=0.1 * eps), y)
    assert float((mine == theirs).float().mean()) < 0.99


def test_the_family_is_the_library(case):
    attacked, eps = case
    x, y = images(COUNT)
    options = {"alpha": 2.5 * eps / STEPS, "steps": STEPS, "random_start": False}
    family = REGISTRY.create("attack", "torchattacks:PGD", options)
    assert torch.equal(perturb(family, attacked, x, y, eps), by_torchattacks("pgd", attacked, eps))


# AutoAttack


def test_on_a_deterministic_model_autoattack_is_pyautoattack(case):
    attacked, eps = case
    x, y = images(COUNT)
    rand = Rand(eps, iterations=20, draws=1)
    mine, theirs = (
        right(attacked, batch, y) for batch in (rand.ours(attacked, x, y, 0), rand.protocol(attacked, x, y, 0))
    )
    assert 0.05 < float(theirs.mean()) < 0.95 * float(right(attacked, x, y).mean())
    assert float((mine == theirs).float().mean()) >= 0.99


BOUND = 6.0
"""Points: what 200 images, 2 seeds and 20 draws can tell apart; `tests/benchmarks` asks for more."""


RAND = Rand(eps=0.15, iterations=15, draws=2)


@pytest.fixture(scope="module")
def on_a_randomised_model(trained: Trained) -> tuple[Difference, Difference]:
    """FLOAT at lambda_n = 1: the library's two runs, and its whole evaluation, against ours."""
    return compare_rand(RAND, view(trained, "float", lambda_n=1.0), *images(200), seeds=2, draws=20)


def test_on_a_randomised_model_autoattack_finds_what_pyautoattacks_runs_find(on_a_randomised_model):
    runs, _ = on_a_randomised_model
    assert -BOUND < runs.low < runs.high < BOUND


def test_on_a_randomised_model_it_is_not_weaker_than_pyautoattacks_whole_evaluation(on_a_randomised_model):
    # That one leaves images unattacked that a single draw called robust or wrong, so ours may be stronger.
    _, protocol = on_a_randomised_model
    assert protocol.low > -BOUND / 2


def test_fewer_iterations_on_a_randomised_model_would_show(trained):
    attacked, (x, y) = view(trained, "float", lambda_n=1.0), images(200)
    weak = right(attacked, replace(RAND, iterations=1).ours(attacked, x, y, 0), y, 20)
    runs = torch.stack([right(attacked, batch, y, 20) for batch in RAND.runs(attacked, x, y, 0)])
    assert Difference.of(runs.amin(0)[None], weak[None]).low < -BOUND
