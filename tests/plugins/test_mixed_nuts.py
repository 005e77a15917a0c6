"""MixedNUTS: the transformation, the grid search, the exact value and the gradient that goes around it."""

from __future__ import annotations

import math

import pytest
import torch
from test_logit_mix import logits_of

from robuststack.attacks import AttackedModel, cross_entropy, dlr, loss_gradient
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.mixing import NonlinearMix, nonlinear
from robuststack.plugin.attack import Loss
from robuststack_plugins.attacks.cw_inf import CWInf
from robuststack_plugins.defenses import margins


def transformed(row: list[float], s: float, p: float, c: float) -> list[float]:
    """The published formula for one image, in plain Python."""
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((z - mean) ** 2 for z in row) / (len(row) - 1))
    shifted = [(z - mean) / deviation + c for z in row]
    clamped = [z * 0.5 * (1 + math.erf(z / math.sqrt(2))) for z in shifted]
    return [s * math.copysign(abs(z) ** p, z) for z in clamped]


@pytest.mark.parametrize(("s", "p", "c"), [(1.0, 1.0, 0.0), (5.0, 4.0, -1.1), (0.05, 2.5, -0.4)])
def test_the_transformation_is_the_published_one(s, p, c):
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([transformed(row, s, p, c) for row in logits.double().tolist()])
    actual = nonlinear(logits, *(torch.tensor(value) for value in (s, p, c)))
    torch.testing.assert_close(actual, expected.float(), atol=1e-5, rtol=1e-4)


def mix(
    clean: torch.Tensor, robust: torch.Tensor, alpha: float, s: float = 2.0, p: float = 2.0, c: float = -0.5
) -> View:
    condition = Condition("mix")
    model = attach(NonlinearMix(logits_of(clean), logits_of(robust), condition), condition)
    for name, value in (("scale", s), ("power", p), ("shift", c)):
        model.get_buffer(f"transformation.{name}").fill_(value)
    return View(model, {"mix": alpha})


@pytest.mark.parametrize("alpha", [0.0, 0.6, 0.95, 1.0])
def test_its_value_is_exact_with_and_without_gradients(alpha):
    source = torch.Generator().manual_seed(1)
    clean, robust = (3 * torch.randn(8, 4, generator=source) for _ in range(2))
    x = torch.zeros(8, 1, 1, 1)
    new = torch.tensor([transformed(row, 2.0, 2.0, -0.5) for row in robust.double().tolist()]).softmax(1)
    one_hot = torch.nn.functional.one_hot(clean.argmax(1), 4)
    expected = clean.softmax(1) if alpha == 0 else (1 - alpha) * one_hot + alpha * new
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            probabilities = mix(clean, robust.clone().requires_grad_(enabled), alpha)(x).softmax(1)
        torch.testing.assert_close(probabilities, expected.float(), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("alpha", "weight"), [(0.3, 0.3), (0.6, 0.5), (0.95, 0.5), (1.0, None)])
def test_the_gradient_is_that_of_the_mostly_plain_mix(alpha, weight):
    """A one-hot vector has none, and GELU and the power take most of the robust network's."""
    source = torch.Generator().manual_seed(3)
    clean, robust = (torch.randn(6, 4, generator=source).requires_grad_() for _ in range(2))
    direction = torch.randn(6, 4, generator=source)
    new = nonlinear(robust, torch.tensor(2.0), torch.tensor(2.0), torch.tensor(-0.5))
    if weight is None:
        around, inputs = 0.9 * robust + 0.1 * new, [robust]
    else:
        mostly_plain = 0.9 * robust.softmax(1) + 0.1 * new.softmax(1)
        around, inputs = ((1 - weight) * clean.softmax(1) + weight * mostly_plain).log(), [robust, clean]
    expected = torch.autograd.grad((direction * around).sum(), inputs)
    logits = mix(clean, robust, alpha)(torch.zeros(6, 1, 1, 1))
    for gradient, wanted in zip(torch.autograd.grad((direction * logits).sum(), inputs), expected, strict=True):
        assert wanted.abs().max() > 1e-2
        torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


def surrogate_loss(model: View, x: torch.Tensor, y: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """By hand, at the published weights: the gradient of the loss of the mostly plain mix, and its logits."""
    point = x.clone().requires_grad_()
    clean, robust = (getattr(model.model, name)(point) for name in ("clean", "robust"))
    new = nonlinear(robust, torch.tensor(2.0), torch.tensor(2.0), torch.tensor(-0.5))
    plain = 0.9 * robust.softmax(1) + 0.1 * new.softmax(1)
    logits = (0.5 * clean.softmax(1) + 0.5 * plain).log()
    return torch.autograd.grad(loss(logits, y).sum(), point)[0], logits.detach()


def two_networks() -> tuple[View, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    condition = Condition("mix")
    networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)) for _ in range(2)]
    model = attach(NonlinearMix(*networks, condition), condition)
    for name, value in (("scale", 2.0), ("power", 2.0), ("shift", -0.5)):
        model.get_buffer(f"transformation.{name}").fill_(value)
    source = torch.Generator().manual_seed(5)
    x = torch.rand(64, 3, 2, 2, generator=source)
    return View(model.eval(), {"mix": 0.8}), x, torch.randint(4, (64,), generator=source)


@pytest.mark.parametrize("loss", [cross_entropy, dlr])
def test_attacks_take_the_loss_of_the_surrogate_and_keep_by_the_exact_logits(loss):
    view, x, y = two_networks()
    gradient, logits = loss_gradient(AttackedModel(view), x, y, loss, 1)
    expected, around = surrogate_loss(view, x, y, loss)
    slopes = (expected != 0).flatten(1).any(1)  # DLR has none where the label is third of four.
    assert slopes.sum() > 30
    torch.testing.assert_close(gradient[slopes], expected[slopes], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(logits, view(x).detach(), atol=1e-6, rtol=1e-5)
    assert (logits - around).abs().max() > 0.1, "both are alike"


def test_a_capped_loss_that_is_flat_at_the_surrogate_takes_the_exact_logits():
    view, x, y = two_networks()
    loss = CWInf(CWInf.Options()).loss
    gradient, logits = loss_gradient(AttackedModel(view), x, y, loss, 1)
    _, around = surrogate_loss(view, x, y, cross_entropy)
    open_here = (logits.argmax(1) == y) & (around.argmax(1) != y)
    won = (logits.argmax(1) != y) & (around.argmax(1) != y)
    assert open_here.any()
    assert won.any()
    assert (gradient.flatten(1)[open_here] != 0).any(1).all()
    assert (gradient.flatten(1)[won] == 0).all()


def test_of_many_classes_the_250_largest_logits_are_normalised():
    logits = torch.randn(3, 400, generator=torch.Generator().manual_seed(6))
    top = logits.sort(1, descending=True).values[:, :250]
    shifted = (logits - top.mean(1, keepdim=True)) / top.var(1, keepdim=True).sqrt()
    expected = 2 * torch.nn.functional.gelu(shifted - 0.4)
    actual = nonlinear(logits, *(torch.tensor(value) for value in (2.0, 1.0, -0.4)))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


def test_the_search_finds_the_best_of_the_grid():
    source = torch.Generator().manual_seed(2)
    right = torch.randn(60, 4, generator=source)
    right[:, 0] += 2
    wrong = 1.5 * torch.randn(40, 4, generator=source)
    best = margins.search(right, wrong, 90.0)

    labels = right.argmax(1).tolist()

    def probabilities(rows: torch.Tensor, s: float, p: float, c: float) -> list[list[float]]:
        new = [transformed(row, s, p, c) for row in rows.double().tolist()]
        return torch.tensor(new, dtype=torch.float64).softmax(1).tolist()

    def cutoff_of(s: float, p: float, c: float) -> float:
        rows = zip(probabilities(right, s, p, c), labels, strict=True)
        margin = [row[label] - max(row[:label] + row[label + 1 :]) for row, label in rows]
        return float(torch.quantile(torch.tensor(margin, dtype=torch.float64), 0.1))

    def confident(s: float, p: float, c: float) -> float:
        ordered = [sorted(row) for row in probabilities(wrong, s, p, c)]
        return sum(row[-1] - row[-2] >= cutoff_of(s, p, c) for row in ordered) / len(ordered)

    assert best
    least = confident(best.scale, best.power, best.shift)
    grid = [(s, p, c) for s in margins.SCALES for p in margins.POWERS[::3] for c in margins.SHIFTS[::3]]
    assert least <= min(confident(*parameters) for parameters in grid)
    assert least < confident(1.0, 1.0, 0.0), "it does no better than no transformation"
    cutoff = cutoff_of(best.scale, best.power, best.shift)
    assert best.mix == pytest.approx(1 / (1 + cutoff), rel=1e-6)
    plain = right.double().softmax(1).sort(1, descending=True).values
    assert best.plain_mix == pytest.approx(1 / (1 + float(torch.quantile(plain[:, 0] - plain[:, 1], 0.05))), rel=1e-6)


@pytest.mark.parametrize("kept", [90.0, 98.5, 100.0])
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_what_is_right_stays_right(classes, kept):
    source = torch.Generator().manual_seed(classes)
    right, wrong = (scale * torch.randn(400, classes, generator=source).double() for scale in (2, 1))
    best = margins.search(right, wrong, kept)
    assert best
    new = nonlinear(right, *(torch.tensor(value) for value in (best.scale, best.power, best.shift)))
    assert float((new.argmax(1) == right.argmax(1)).double().mean()) >= kept / 100
    assert 0.5 <= best.mix <= 1


@pytest.mark.parametrize(("right", "wrong"), [(0, 5), (5, 0)])
def test_without_answers_of_a_kind_nothing_is_searched(right, wrong):
    assert margins.search(torch.randn(right, 4), torch.randn(wrong, 4), 98.5) is None
