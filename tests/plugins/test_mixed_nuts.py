"""MixedNUTS: the transformation, the grid search, the exact value and the gradient that goes around it."""

from __future__ import annotations

import math

import pytest
import torch
from test_logit_mix import logits_of

from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.mixing import NonlinearMix, nonlinear
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


def test_the_search_finds_the_best_of_the_grid():
    source = torch.Generator().manual_seed(2)
    right = torch.randn(60, 4, generator=source)
    right[:, 0] += 2
    wrong = 1.5 * torch.randn(40, 4, generator=source)
    best = margins.search(right, wrong, 90.0)

    def margin(rows: torch.Tensor, s: float, p: float, c: float) -> torch.Tensor:
        new = torch.tensor([transformed(row, s, p, c) for row in rows.double().tolist()], dtype=torch.float64).softmax(
            1
        )
        top = new.sort(1, descending=True).values
        return top[:, 0] - top[:, 1]

    def confident(s: float, p: float, c: float) -> float:
        cutoff = torch.quantile(margin(right, s, p, c), 0.1)
        return float((margin(wrong, s, p, c) >= cutoff).double().mean())

    assert best
    least = confident(best.scale, best.power, best.shift)
    grid = [(s, p, c) for s in margins.SCALES for p in margins.POWERS[::3] for c in margins.SHIFTS[::3]]
    assert least <= min(confident(*parameters) for parameters in grid)
    assert least < confident(1.0, 1.0, 0.0), "it does no better than no transformation"
    cutoff = float(torch.quantile(margin(right, best.scale, best.power, best.shift), 0.1))
    assert best.mix == pytest.approx(1 / (1 + cutoff), rel=1e-6)


@pytest.mark.parametrize(("right", "wrong"), [(0, 5), (5, 0)])
def test_without_answers_of_a_kind_nothing_is_searched(right, wrong):
    assert margins.search(torch.randn(right, 4), torch.randn(wrong, 4), 98.5) is None
