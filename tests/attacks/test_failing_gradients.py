"""Gradients and logits that fail: zero, infinite or not a number; what is counted, and what becomes of the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.eot import loss_gradient
from robuststack.engine.data import Data
from robuststack.engine.evaluate import evaluate, judge
from robuststack.layers.condition import View
from victims import CPU, RUNTIME, THREAT, N, create, images, model, run


class Masked(nn.Module):
    """A network whose gradient does not exist (`broken`) or is nothing (`flat`), as gradient masking has it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = model()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "flat":
            return self.net(x.detach()) + 0 * x.sum()
        return self.net(x) + (x - x).sum((1, 2, 3))[:, None].sqrt()


@pytest.mark.parametrize(("kind", "check"), [("flat", "gradients_zero"), ("broken", "gradients_not_finite")])
def test_gradients_that_fail_are_counted(kind, check):
    assert run(View(model()), create("pgd", steps=3)).checks[check] == 0
    assert run(View(Masked(kind)), create("pgd", steps=3)).checks[check] == 100


def test_a_capped_loss_that_is_flat_where_the_model_is_fooled_is_no_masking():
    capped = create("cw_inf", steps=5, kappa=0.0)
    outcome = run(View(model()), capped)
    assert not outcome.correct.all()  # Some are fooled, so some gradients were zero.
    assert outcome.checks["gradients_zero"] == 0


def test_logits_that_are_not_finite_are_wrong():
    net = model()
    x, _ = images()
    first = torch.zeros(N, dtype=torch.long)
    with torch.no_grad():
        net.head.bias.fill_(torch.nan)
    assert net(x).argmax(1).eq(first).all()
    assert not judge(View(net), x, first, draws=1).any()


class MaskedClass(nn.Module):
    """The network with a class more, which a mask takes out: its logit is -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(self.net(x), (0, 1), value=-torch.inf)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pgd", {"steps": 7}),
        ("pgd", {"steps": 7, "restarts": 2}),
        ("apgd_ce", {"iterations": 10}),
        ("cw_inf", {"steps": 7}),
    ],
)
def test_a_class_that_a_mask_takes_out_changes_no_figure(name: str, options: dict[str, int]) -> None:
    x, y = images(200)
    figures = [
        evaluate(View(net), View(net), Data(x, y), attack, THREAT, RUNTIME, seed=0, draws=1, batch_size=200).correct
        for attack in (None, create(name, **options))
        for net in (model(), MaskedClass().eval())
    ]
    plain_clean, masked_clean, plain, masked = (float(correct.float().mean()) for correct in figures)
    assert plain_clean == masked_clean
    assert plain == masked < plain_clean


class Sometimes(nn.Module):
    """One forward pass of three gives logits that are no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) * (torch.nan if self.calls == 2 else 1.0)


def test_a_draw_without_a_gradient_is_counted_and_spoils_no_other():
    x, y = images()
    cross_entropy = create("pgd").loss
    expected, _ = loss_gradient(AttackedModel(View(model()), RUNTIME), x, y, cross_entropy, 2)
    tally = Tally(CPU)
    gradient, logits = loss_gradient(AttackedModel(View(Sometimes().eval()), RUNTIME, tally), x, y, cross_entropy, 3)
    torch.testing.assert_close(gradient, expected)
    counted = int((logits.argmax(1) == y).sum())
    assert tally.gradients.tolist() == [counted, 0, counted]
    # In training nothing counts them, so that they are not hidden either.
    assert loss_gradient(AttackedModel(View(Sometimes().eval()), RUNTIME), x, y, cross_entropy, 3)[0].isnan().all()


class Overflowing(nn.Module):
    """Always right about class 0, but that its logits are infinite, without a gradient, where most pixels are not grey."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def forward(self, x: Tensor) -> Tensor:
        far = (x - 0.5).abs().mean((1, 2, 3)) > 0.7 * THREAT.eps
        return (self.net(x) + torch.tensor([8.0, 0.0, 0.0])) * torch.where(far, torch.inf, 1.0)[:, None]


class Scaled(type(create("pgd"))):
    """Steps along the gradient itself, its largest entry the step: what is no number there would be none in the image."""

    def update(self, iterate, gradient, step, ball, state):
        return iterate + step * gradient / (gradient.abs().amax((1, 2, 3), keepdim=True) + 1e-12)


@pytest.mark.parametrize("attack", [create("pgd"), create("apgd_ce"), Scaled()])
def test_an_image_whose_logits_become_infinite_stays_as_it_is_and_is_wrong(attack):
    net = View(Overflowing().eval())
    grey = torch.full((N, 3, 6, 6), 0.5)
    data = Data(grey, torch.zeros(N, dtype=torch.long))
    assert run(net, None, data=data).correct.all()
    # A random start is half of eps from grey in the mean; the corners, where an attack ends, are all of it.
    outcome = run(net, attack, data=data)
    assert outcome.checks["gradients_not_finite"] > 0
    assert outcome.checks["not_finite"] == 0
    assert not outcome.correct.any()
