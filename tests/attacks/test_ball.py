"""The balls: what is projected, drawn and stepped, in each norm, against plain arithmetic in double precision."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import robuststack as rs
from robuststack.attacks.ball import BALLS, Ball, project
from robuststack.plugin.threat import Norm

SHAPES = ((1, 8, 8), (3, 32, 32), (3, 224, 224))
NORMS = sorted(BALLS)


def clean(shape: tuple[int, int, int], seed: int = 0, count: int = 4) -> Tensor:
    """Images with pixels at both ends of [0, 1], one of a single colour (its rounding errors all point one way)."""
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 1.4 - 0.2
    x[0] = 0.7
    return x.clamp_(0, 1).to(memory_format=torch.channels_last)


def distance(norm: str, images: Tensor, x: Tensor) -> Tensor:
    difference = (images.double() - x.double()).flatten(1)
    return difference.abs().amax(1) if norm == "linf" else difference.square().sum(1).sqrt()


def test_there_is_a_ball_for_each_norm():
    assert set(get_args(Norm)) == set(BALLS)
    assert all(ball.norm == norm for norm, ball in BALLS.items())


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    shape=st.sampled_from(SHAPES[:2]),
    eps=st.floats(1e-4, 1.0),
    scale=st.sampled_from([1e-3, 0.3, 5.0]),
    seed=st.integers(0, 99),
)
def test_a_projection_is_in_the_ball_and_moves_nothing_that_is_inside(norm, shape, eps, scale, seed):
    x, threat = clean(shape, seed), rs.Threat(norm=norm, eps=eps)
    anywhere = x + scale * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    anywhere[0] = x[0] + scale  # A change of all pixels alike.
    once, ball = project(anywhere, x, threat), Ball.of(x, threat)
    assert float(distance(norm, once, x).max()) <= eps + ball.slack
    assert 0 <= float(once.min()) <= float(once.max()) <= 1
    assert torch.equal(project(once, x, threat), once)


@pytest.mark.parametrize(("shape", "eps"), [(SHAPES[0], 0.5), (SHAPES[1], 0.5), (SHAPES[2], 3.0)])
def test_at_the_usual_radii_rounding_is_a_hundred_thousandth_of_the_radius(shape, eps):
    x = clean(shape)
    ball = Ball.of(x, rs.Threat(norm="l2", eps=eps))
    assert ball.slack < 1e-5 * eps
    far = ball.project(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    assert float(distance("l2", far, x).max()) <= eps * (1 + 1e-5)


def test_a_projection_onto_the_l2_ball_is_the_textbooks():
    x = torch.full((2, 1, 2, 2), 0.5)
    threat = rs.Threat(norm="l2", eps=0.5)
    moved = x + torch.tensor([[0.3, 0.4, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0]]).reshape(2, 1, 2, 2)
    expected = torch.tensor([[0.8, 0.9, 0.5, 0.5], [0.8, 0.9, 0.5, 0.5]]).reshape(2, 1, 2, 2)
    torch.testing.assert_close(project(moved, x, threat), expected)
    # The box is last: a pixel that it cuts leaves the others as they are.
    edge = torch.tensor([1.0, 0.5, 0.5, 0.5]).reshape(1, 1, 2, 2)
    cut = project(edge + torch.tensor([0.6, 0.8, 0.0, 0.0]).reshape(1, 1, 2, 2), edge, threat)
    torch.testing.assert_close(cut, torch.tensor([1.0, 0.9, 0.5, 0.5]).reshape(1, 1, 2, 2))


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_uniform_in_the_ball(norm):
    x, eps, d = torch.full((4000, 1, 2, 2), 0.5), 0.3, 4
    ball = Ball.of(x, rs.Threat(norm=norm, eps=eps))
    far = distance(norm, ball.random(torch.Generator().manual_seed(0)), x)
    assert float(far.max()) <= eps + ball.slack
    # The share of a ball within r is (r / eps)^d, in both norms.
    for share in (0.25, 0.5, 0.75):
        assert float((far <= eps * share ** (1 / d)).double().mean()) == pytest.approx(share, abs=0.03)
    surface = distance(norm, ball.random_on_surface(torch.Generator().manual_seed(0)), x)
    torch.testing.assert_close(surface, torch.full_like(surface, eps), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [1e-38, 1e-12, 1.0, 1e30])
@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_direction_has_length_one_whatever_the_gradients_scale(norm, scale):
    x = clean(SHAPES[1])
    gradient = scale * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    gradient[1] = 0
    ball = Ball.of(x, rs.Threat(norm=norm, eps=0.1))
    direction = ball.steepest(gradient)
    expected = torch.tensor([1.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(ball.length(direction), expected, atol=1e-5, rtol=0)
    # No direction of that length rises more: the dual norm of the gradient.
    slope = (direction.double() * gradient.double()).flatten(1).sum(1)
    dual = gradient.double().flatten(1).norm(p=1 if norm == "linf" else 2, dim=1)
    torch.testing.assert_close(slope, dual, rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_part_of_a_ball_is_the_ball_of_that_part(norm):
    x, threat, left = clean(SHAPES[0], count=6), rs.Threat(norm=norm, eps=0.2), torch.tensor([1, 4])
    far = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Ball.of(x, threat).subset(left).project(far[left]), project(far, x, threat)[left])


@pytest.mark.parametrize(
    ("norm", "eps", "reason"),
    [("linf", 8, r"8 is outside \(0, 1\]"), ("l2", 0, "0 is no radius"), ("l2", -1, "-1 is no radius")],
)
def test_a_radius_fits_its_norm(norm, eps, reason):
    with pytest.raises(ValueError, match=reason):
        rs.Threat(norm=norm, eps=eps)
    assert rs.Threat(norm="l2", eps=3).eps == 3
    assert math.isclose(rs.Threat(norm="l2", eps="128/255").eps, 128 / 255)
