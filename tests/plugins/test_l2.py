"""The L2 threat: our attacks against plain ones and against other libraries, from one start."""

from __future__ import annotations

from functools import cache

import foolbox
import pytest
import torch
import torchattacks
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

import robuststack as rs
from peers import CPU, REGISTRY, RUNTIME, images, perturb, right, same_start, view
from robuststack.attacks import AttackedModel, Ball, zero_start
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import generator, seeded
from robuststack.layers.condition import View
from trained import Trained

COUNT, STEPS = 1000, 10
# Radii at which the attack fools some images and not others, or agreement would say nothing.
RADII = {"none": 0.2, "pgd_at": 1.4}
BUILT_IN = ("fgsm", "pgd", "cw_inf", "apgd_ce", "apgd_dlr", "autoattack_rand", "noise", "square", "autoattack_standard")
QUICK = {"steps": 3, "iterations": 3, "queries": 20, "targets": 2}


@pytest.fixture(scope="module", params=RADII)
def case(request: pytest.FixtureRequest, trained: Trained) -> tuple[View, float]:
    """A deterministic model and a radius."""
    return view(trained, request.param), RADII[request.param]


def create(name: str, **options: object) -> rs.Attack:
    return REGISTRY.create("attack", name, options)


@cache
def ours(name: str, attacked: View, eps: float, **options: object) -> Tensor:
    """Our attack from the clean image."""
    attack, (x, y) = create(name, **options), images(COUNT)
    threat = rs.Threat(norm="l2", eps=eps)
    with frozen_eval(attacked):
        model = AttackedModel(attacked, RUNTIME)
        return attack.perturb(model, x, y, threat, generator(CPU, 0), start=zero_start)


@cache
def by_torchattacks(attacked: View, eps: float) -> Tensor:
    with frozen_eval(attacked):
        attack = torchattacks.PGDL2(attacked, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=False)
        x, y = images(COUNT)
        return attack(x.contiguous(), y)  # The library views its images as rows.


@cache
def by_foolbox(attacked: View, eps: float) -> Tensor:
    x, y = images(COUNT)
    attack = foolbox.attacks.L2PGD(abs_stepsize=2.5 * eps / STEPS, steps=STEPS, random_start=False)
    with frozen_eval(attacked):
        model = foolbox.PyTorchModel(attacked, bounds=(0, 1), device=x.device)
        return attack.run(model, x.contiguous(), foolbox.criteria.Misclassification(y), epsilon=eps)


def agree(attacked: View, eps: float, mine: Tensor, theirs: Tensor, count: int = COUNT) -> float:
    """The share of images on which the model is right about both or about neither."""
    x, y = images(count)
    verdicts = [right(attacked, adversarial, y) for adversarial in (mine, theirs)]
    assert 0.05 < float(verdicts[1].mean()) < 0.95 * float(right(attacked, x, y).mean()), eps
    return float((verdicts[0] == verdicts[1]).float().mean())


@pytest.mark.parametrize("library", [by_torchattacks, by_foolbox])
def test_verdicts_of_pgd_are_those_of_other_libraries(case, library):
    attacked, eps = case
    assert agree(attacked, eps, ours("pgd", attacked, eps, steps=STEPS), library(attacked, eps)) >= 0.99


def test_a_shorter_step_would_show(case):
    attacked, eps = case
    mine = ours("pgd", attacked, eps, steps=STEPS, step=0.05 * eps)
    assert agree(attacked, eps, mine, by_torchattacks(attacked, eps)) < 0.99


# Fewer images of the last one, which is the two before it one after another.
@pytest.mark.parametrize(("name", "count"), [("apgd_ce", COUNT), ("apgd_dlr", COUNT), ("autoattack_rand", 300)])
def test_verdicts_of_auto_pgd_are_pyautoattacks(case, name, count):
    attacked, eps = case
    mine, theirs = same_start(name, attacked, *images(count), eps, iterations=10, norm="l2")
    assert agree(attacked, eps, mine, theirs, count) >= 0.99


def test_the_family_is_the_library(case):
    attacked, eps = case
    options = {"alpha": 2.5 * eps / STEPS, "steps": STEPS, "random_start": False}
    family = perturb(create("torchattacks:PGDL2", **options), attacked, *images(COUNT), eps, norm="l2")
    assert torch.equal(family, by_torchattacks(attacked, eps))


def test_square_is_the_library(trained):
    attacked, (x, y), eps = view(trained, "none"), images(200), 1.0
    mine = perturb(create("square", queries=100), attacked, x, y, eps, norm="l2")
    with seeded(0), frozen_eval(attacked), torch.no_grad():
        official = SquareAttack(
            attacked, norm="L2", eps=eps, n_queries=100, p_init=0.8, resc_schedule=False, device=CPU
        )
        theirs = official.perturb(x.contiguous(), y)
    accuracy = [float(right(attacked, adversarial, y).mean()) for adversarial in (x, mine, theirs)]
    assert accuracy[1] < accuracy[0] - 0.1
    assert accuracy[1] == pytest.approx(accuracy[2], abs=0.05)  # Another seed is another search.


# Against plain arithmetic


class Net(nn.Module):
    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 5))
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.noise * torch.randn(5) * x.sum((1, 2, 3))[:, None]


def toys() -> tuple[Tensor, Tensor]:
    x = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, Net()(x).argmax(1)


def attacked_toys(attack: rs.Attack, eps: float, noise: float = 0.0, seed: int = 0, **given: object) -> Tensor:
    network = View(Net(noise).eval(), stochastic=noise > 0)
    threat, (x, y) = rs.Threat(norm="l2", eps=eps), toys()
    with frozen_eval(network), seeded(seed):
        return attack.perturb(AttackedModel(network, RUNTIME), x, y, threat, generator(CPU, seed), **given)


def gradient(x: Tensor, y: Tensor, noise: float = 0.0, draws: int = 1) -> Tensor:
    network, total = Net(noise), torch.zeros_like(x)
    for _ in range(draws):
        point = x.clone().requires_grad_()
        nn.functional.cross_entropy(network(point), y, reduction="sum").backward()
        total += point.grad / draws
    return total


def unit(direction: Tensor) -> Tensor:
    return direction / direction.flatten(1).norm(dim=1)[:, None, None, None]


def test_fgm_is_one_step_of_the_radius_along_the_gradient():
    (x, y), eps = toys(), 0.7
    expected = (x + eps * unit(gradient(x, y))).clamp(0, 1)
    torch.testing.assert_close(attacked_toys(create("fgsm"), eps), expected, atol=1e-6, rtol=0)


def test_pgd_is_the_textbooks():
    (x, y), eps, steps = toys(), 0.7, 5
    expected = x
    for _ in range(steps):
        difference = expected + 2.5 * eps / steps * unit(gradient(expected, y)) - x
        length = difference.flatten(1).norm(dim=1)[:, None, None, None]
        expected = (x + difference * (eps / length).clamp(max=1)).clamp(0, 1)
    mine = attacked_toys(create("pgd", steps=steps, early_stop=False), eps, start=zero_start)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


def test_gradients_are_averaged_over_the_draws_before_they_are_normalised():
    (x, y), eps = toys(), 0.7
    with seeded(3):
        mean = gradient(x, y, noise=0.5, draws=4)
    with seeded(3):
        gradients = [unit(gradient(x, y, noise=0.5)) for _ in range(4)]
    mine = attacked_toys(create("fgsm", draws=4), eps, noise=0.5, seed=3)
    torch.testing.assert_close(mine, (x + eps * unit(mean)).clamp(0, 1), atol=1e-5, rtol=0)
    other = (x + eps * unit(torch.stack(gradients).mean(0))).clamp(0, 1)
    assert float((mine - other).abs().max()) > 1e-3


def test_a_zero_gradient_moves_nothing():
    x, y = toys()
    flat = View(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval())
    nn.init.zeros_(flat.model[1].weight)
    threat = rs.Threat(norm="l2", eps=1.0)
    with frozen_eval(flat):
        model = AttackedModel(flat, RUNTIME)
        adversarial = create("pgd", steps=3).perturb(model, x, y, threat, generator(CPU, 0), start=zero_start)
    assert torch.equal(adversarial, x)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_attack_stays_in_the_ball(name, noise):
    options = {key: value for key, value in QUICK.items() if key in type(create(name)).Options.model_fields}
    x, _ = toys()
    for eps in (0.05, 2.0):
        ball = Ball.of(x, rs.Threat(norm="l2", eps=eps))
        adversarial = attacked_toys(create(name, **options), eps, noise)
        assert float(ball.length(adversarial - x).max()) <= eps + ball.slack
        assert torch.equal(ball.project(adversarial), adversarial)


def test_draws_and_early_stop_are_set_by_their_options():
    attack = create("apgd_ce", draws=5)
    assert [attack.draws(stochastic) for stochastic in (True, False)] == [5, 1]
    assert attack.early_stop
    assert not create("apgd_ce", early_stop=False).early_stop
    square = create("square")
    assert square.early_stop, "later runs leave out what is fooled"
    assert square.with_draws(3).draws(True) == 3
    assert create("autoattack_standard").draws(True) == 1
