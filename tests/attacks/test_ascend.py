"""The attack loop against a plain one, and what every attack of ours returns."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.data import Data
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator
from robuststack.errors import PluginError
from robuststack.layers.condition import View
from victims import CLASSES, CPU, RUNTIME, THREAT, create, images, model, noisy, perturb, run


@settings(max_examples=40, deadline=None)
@given(
    eps=st.floats(1e-4, 1.0),
    steps=st.integers(1, 4),
    step=st.sampled_from(["oat", "relative", 0.7]),
    restarts=st.integers(1, 3),
    draws=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_pgd_stays_in_the_ball_and_in_the_pixel_range(eps, steps, step, restarts, draws, seed):
    x, _ = images()
    attack = create("pgd", steps=steps, step=step, restarts=restarts, draws=draws)
    adversarial = perturb(attack, noisy(), seed, rs.Threat(eps=eps))
    assert adversarial.shape == x.shape
    assert float((adversarial - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1


@settings(max_examples=15, deadline=None)
@given(eps=st.floats(1e-4, 1.0))
def test_fgsm_stays_in_the_ball_and_in_the_pixel_range(eps):
    x, _ = images()
    adversarial = perturb(create("fgsm"), View(model()), threat=rs.Threat(eps=eps))
    assert float((adversarial - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1


@pytest.mark.parametrize(
    ("eps", "options", "expected"),
    [
        (8 / 255, {"steps": 7, "step": "oat"}, 10 / 7 / 255),
        (8 / 255, {"steps": 20, "step": "oat"}, 0.5 / 255),
        (0.2, {"steps": 20, "step": "oat"}, (0.2 + 4 / 255) / 20),
        (0.2, {"steps": 20, "step": "relative"}, 0.025),
        (0.2, {"steps": 20, "step": "2/255"}, 2 / 255),
    ],
)
def test_the_step_rules_come_out_as_documented(eps, options, expected):
    assert create("pgd", **options).step_size(rs.Threat(eps=eps)) == pytest.approx(expected, rel=1e-12)


# Against an independent implementation


def plain_gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(net(x), y, reduction="sum").backward()
    return x.grad


def test_fgsm_is_the_textbooks():
    net, (x, y) = model(), images()
    expected = torch.clamp(x + THREAT.eps * plain_gradient(net, x, y).sign(), 0, 1)
    torch.testing.assert_close(perturb(create("fgsm"), View(net)), expected)


@pytest.mark.parametrize("steps", [1, 5])
def test_pgd_is_the_textbooks(steps):
    net, (x, y), eps = model(), images(), THREAT.eps
    noise = (torch.rand(x.shape, generator=generator(CPU, 0)) * 2 - 1) * eps
    expected = (x + noise).clamp(0, 1)
    for _ in range(steps):
        expected = expected + 2.5 * eps / steps * plain_gradient(net, expected, y).sign()
        expected = (x + (expected - x).clamp(-eps, eps)).clamp(0, 1)
    adversarial = perturb(create("pgd", steps=steps, early_stop=False), View(net))
    assert float((adversarial - expected).abs().max()) < 1e-6


@pytest.mark.parametrize("draws", [1, 4])
def test_gradients_of_a_randomised_model_are_averaged_over_the_draws(draws):
    view, (x, y) = noisy(alpha=3.0), images()
    torch.manual_seed(3)
    mean = torch.stack([plain_gradient(view, x, y) for _ in range(draws)]).mean(0)
    torch.manual_seed(3)
    adversarial = perturb(create("fgsm", draws=draws), view)
    torch.testing.assert_close(adversarial, torch.clamp(x + THREAT.eps * mean.sign(), 0, 1))


def test_fgsm_is_not_pgd_of_one_step():
    one_step = create("pgd", steps=1, step=THREAT.eps)
    fgsm = perturb(create("fgsm"), View(model()))
    assert not torch.allclose(fgsm, perturb(one_step, View(model())), atol=1e-3)
    assert torch.equal(fgsm, perturb(create("fgsm"), View(model()), seed=5))


def test_restarts_keep_the_largest_margin():
    net, (x, y) = model(), images()

    def margin(batch: Tensor) -> Tensor:
        logits = net(batch)
        others = logits.masked_fill(nn.functional.one_hot(y, CLASSES).bool(), -torch.inf)
        return others.max(1).values - logits[range(len(y)), y]

    attack, source = create("pgd", steps=2, restarts=3, early_stop=False), generator(CPU, 0)
    single = create("pgd", steps=2, early_stop=False)
    with frozen_eval(net):
        restarts = [single.perturb(AttackedModel(View(net), RUNTIME), x, y, THREAT, source) for _ in range(3)]
        best = torch.stack([margin(x), *(margin(batch) for batch in restarts)]).max(0).values
        torch.testing.assert_close(margin(perturb(attack, View(net))), best)


@pytest.mark.parametrize("name", ["pgd", "cw_inf"])
def test_restarts_against_shares_of_the_classes_keep_the_largest_margin_over_the_largest_share(name):
    """A training loss may be held against probabilities, as that of TRADES is."""
    net, (x, y) = model(), images()
    attack = create(name, steps=2, restarts=3)

    def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
        shares = nn.functional.one_hot(target, CLASSES) if target.dim() == 1 else target
        return -(shares * logits.log_softmax(1)).sum(1)

    with frozen_eval(net):
        made = [
            attack.perturb(
                AttackedModel(View(net), RUNTIME),
                x,
                target,
                THREAT,
                generator(CPU, 0),
                loss=cross_entropy,
                early_stop=False,
            )
            for target in (y, nn.functional.one_hot(y, CLASSES).float())
        ]
    assert torch.equal(*made)


def test_later_restarts_attack_what_is_still_right():
    net, (x, y) = model(), images(200, seed=3)
    attack = create("pgd", steps=4, restarts=3)
    counts = []

    class Counted(rs.GradientAttack):
        steps, restarts, early_stop = attack.steps, attack.restarts, attack.early_stop

        def step_size(self, threat):
            return attack.step_size(threat)

        def start(self, x, threat, generator):
            counts.append(len(x))
            return super().start(x, threat, generator)

    def right(batch: Tensor) -> Tensor:
        return judge(View(net), batch, y, 1)[0]

    threat = rs.Threat(eps=0.04)
    with frozen_eval(net):
        # The first restart alone, from the same start.
        once = create("pgd", steps=4).perturb(AttackedModel(View(net), RUNTIME), x, y, threat, generator(CPU, 0))
        adversarial = Counted(rs.Options()).perturb(AttackedModel(View(net), RUNTIME), x, y, threat, generator(CPU, 0))
        clean, first, all_ = right(x), right(once), right(adversarial)
    assert counts[0] == 200
    assert 0 < counts[1] == int((clean & first).sum()) < 200
    assert 0 < counts[2] <= counts[1]
    assert not bool((all_ & ~(clean & first)).any())


def robust_accuracy(view: View, attack: rs.Attack) -> float:
    return 100 * float(run(view, attack, data=Data(*images(200, seed=3))).correct.float().mean())


def test_more_steps_and_more_restarts_find_more():
    view = View(model())
    clean = 100 * float(run(view, None, data=Data(*images(200, seed=3))).correct.float().mean())
    by_steps = [robust_accuracy(view, create("pgd", steps=steps)) for steps in (1, 5, 20, 40)]
    by_restarts = [robust_accuracy(view, create("pgd", steps=5, restarts=restarts)) for restarts in (1, 4)]
    assert clean - 10 > by_steps[0]
    assert all(more <= fewer + 0.5 for fewer, more in pairwise(by_steps))
    assert by_restarts[1] <= by_restarts[0]
    assert by_steps[-1] <= robust_accuracy(view, create("fgsm"))


@pytest.mark.parametrize("count", [1, 5])
def test_an_image_is_attacked_alike_whatever_is_beside_it(count):
    net, (x, y) = model(), images()
    attack = create("fgsm")
    with frozen_eval(net):
        alone = attack.perturb(AttackedModel(View(net), RUNTIME), x[:count], y[:count], THREAT, generator(CPU, 0))
    torch.testing.assert_close(alone, perturb(attack, View(net))[:count])


@pytest.mark.parametrize("step", [-0.01, 0.0])
def test_a_step_of_no_length_is_refused(step):
    with pytest.raises(PluginError, match="step: must be "):
        create("pgd", step=step)


@pytest.mark.parametrize("step", [2.0, "8/1"])
def test_under_linf_a_step_outside_of_the_pixel_range_is_refused(step):
    with pytest.raises(ValueError, match=r"step: .* is outside \(0, 1\], the range of a pixel"):
        create("pgd", step=step).check_threat(THREAT)
