"""The margin attack against a plain one, and the noise that every attack has to beat."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.eot import mean_margin
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import margin
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = rs.Threat(eps=0.1)
CPU = torch.device("cpu")
CLASSES = 4


def create(name: str, **options: object) -> rs.Attack:
    return REGISTRY.create("attack", name, options)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, CLASSES)).eval()


def images(net: nn.Module, count: int = 64) -> tuple[Tensor, Tensor]:
    """Images that the network is right about."""
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    return x, net(x).argmax(1)


def perturb(attack: rs.Attack, net: nn.Module, seed: int = 0) -> Tensor:
    with frozen_eval(net):
        return attack.perturb(AttackedModel(View(net), RUNTIME), *images(net), THREAT, generator(CPU, seed))


def right(net: nn.Module, x: Tensor) -> float:
    return float(judge(View(net), x, images(net)[1], 1).float().mean())


# cw_inf


@pytest.mark.parametrize("kappa", [0.0, 0.05, 50.0])
def test_it_climbs_the_capped_margin(kappa):
    net, steps, eps = network(), 5, THREAT.eps
    x, y = images(net)
    noise = torch.empty_like(x).uniform_(-eps, eps, generator=generator(CPU, 0))
    expected = (x + noise).clamp(0, 1)
    for _ in range(steps):
        point = expected.clone().requires_grad_()
        logits = net(point)
        best = logits.masked_fill(nn.functional.one_hot(y, CLASSES).bool(), -torch.inf).amax(1)
        loss = torch.minimum(best - logits[range(len(y)), y], torch.tensor(kappa))
        (gradient,) = torch.autograd.grad(loss.sum(), point)
        expected = (x + (expected + 2.5 * eps / steps * gradient.sign() - x).clamp(-eps, eps)).clamp(0, 1)
    adversarial = perturb(create("cw_inf", steps=steps, kappa=kappa, early_stop=False), net)
    torch.testing.assert_close(adversarial, expected, atol=1e-6, rtol=0)


def test_nothing_is_gained_beyond_kappa():
    net = network()
    y = images(net)[1]
    short, far = (perturb(create("cw_inf", kappa=kappa, early_stop=False), net) for kappa in (0.0, 50.0))
    assert max(right(net, short), right(net, far)) < 0.3
    with torch.no_grad():
        margins = [margin(net(batch), y) for batch in (short, far)]
    fooled = margins[0] > 0
    assert float(margins[1][fooled].mean()) > 5 * float(margins[0][fooled].mean())


def test_it_has_the_options_of_pgd_and_its_labels():
    assert create("cw_inf").label == "CW-20"
    assert create("cw_inf", steps=30, kappa=50.0, restarts=2).label == "CW-30x2 kappa=50"
    figures = create("cw_inf").figures(THREAT, stochastic=True)
    assert figures == {
        "steps": 20, "step": 0.0125, "restarts": 1, "draws": 20, "average": "loss", "kappa": 0.0, "eps": 0.1,
        "early_stop": True,
    }  # fmt: skip


def test_a_margin_to_be_reached_is_no_early_stop():
    assert create("cw_inf").early_stop
    assert not create("cw_inf", kappa=1.0).early_stop
    assert not create("cw_inf", early_stop=False).early_stop


def test_it_can_train(small_suite, tmp_path):
    text = small_suite.read_text().replace("attack: {name: pgd,", "attack: {name: cw_inf,")
    assert text != small_suite.read_text()
    small_suite.write_text(text)
    plan = rs.run(
        small_suite, store=tmp_path / "s", leaderboard=tmp_path / "l", device="cpu", only="pgd_at",
        overrides=["train.epochs=1"],
    ).plan  # fmt: skip
    recipes = [job.spec.attack.name for job in plan.jobs if job.kind == "train"]
    assert recipes == ["cw_inf"]


# noise


def test_it_is_uniform_in_the_ball():
    net = network()
    x, _ = images(net)
    difference = perturb(create("noise"), net) - x
    assert float(difference.abs().max()) <= THREAT.eps + 1e-6
    assert float(difference.mean()) == pytest.approx(0, abs=0.005)
    assert float(difference.std()) == pytest.approx(2 * THREAT.eps / 12**0.5, rel=0.05)


def test_more_samples_hurt_more_and_no_search_beats_a_gradient():
    net = network()
    y = images(net)[1]
    hurt = [
        float(mean_margin(net, perturb(attack, net), y, 1).mean())
        for attack in (create("noise"), create("noise", samples=50), create("pgd", steps=5))
    ]
    assert hurt[0] < hurt[1] < hurt[2]


def test_one_sample_asks_the_model_nothing():
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError

    x, y = images(network())
    assert (
        create("noise").perturb(AttackedModel(View(Silent()), RUNTIME), x, y, THREAT, generator(CPU, 0)).shape
        == x.shape
    )
    assert create("noise").image_passes(stochastic=True) == 0
    assert create("noise", samples=3).image_passes(stochastic=True) == 80


# The margin


def test_logits_that_are_not_finite_are_the_worst_there_is():
    logits = torch.tensor([[1.0, 3.0], [torch.inf, 0.0], [torch.nan, 0.0]])
    margins = mean_margin(nn.Identity(), logits, torch.tensor([0, 0, 1]), 1)
    assert margins.tolist() == [2.0, torch.inf, torch.inf]
