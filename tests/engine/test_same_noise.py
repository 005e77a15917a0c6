"""Noise of 16 bits that is that of float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from robuststack.engine.same_noise import Float32Draws

DRAWS = {
    "randn": lambda kind: torch.randn(2, 8, 3, 3, dtype=kind),
    "rand": lambda kind: torch.rand(40, dtype=kind),
    "randn_like": lambda kind: torch.randn_like(torch.zeros(2, 8, 3, 3, dtype=kind)),
    "channels-last": lambda kind: torch.randn_like(
        torch.zeros(2, 8, 3, 3, dtype=kind).to(memory_format=torch.channels_last)
    ),
    "normal_": lambda kind: torch.empty(2, 40, dtype=kind).normal_(1, 2),
    "a part in place": lambda kind: _in_part(torch.zeros(6, 4, dtype=kind)),
    "bernoulli_": lambda kind: torch.empty(2, 40, dtype=kind).bernoulli_(0.3),
    "normal": lambda kind: torch.normal(torch.zeros(40, dtype=kind), torch.ones(40, dtype=kind)),
    "a distribution": lambda kind: torch.distributions.Normal(torch.zeros(40, dtype=kind), 1).sample(),
    "dropout": lambda kind: functional.dropout(torch.ones(2, 40, dtype=kind), 0.4),
    "in float32 beside 16 bits": lambda kind: torch.randn_like(torch.zeros(40, dtype=kind), dtype=torch.float32),
    "whole numbers": lambda kind: torch.randint(9, (40,)),
}


def _in_part(whole):
    whole[2:4].uniform_()
    return whole


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_draw_is_that_of_float32_to_rounding(draw, kind):
    torch.manual_seed(0)
    exact = DRAWS[draw](torch.float32)
    torch.manual_seed(0)
    with Float32Draws():
        low = DRAWS[draw](kind)
    assert low.dtype == DRAWS[draw](kind).dtype
    assert low.stride() == exact.stride()
    assert torch.equal(low, exact.to(low.dtype))


def test_gradients_go_through():
    x = torch.ones(40, dtype=torch.bfloat16, requires_grad=True)
    with Float32Draws():
        functional.dropout(x, 0.5).sum().backward()
    assert {*x.grad.tolist()} == {0.0, 2.0}
