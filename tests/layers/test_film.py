"""FiLM against its formula, written out once more in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.dual_norm import DualNorm, dualise
from robuststack.layers.film import FiLM, modulate
from robuststack.layers.roles import mark


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, x, 0.01 * x)


def reference(film: FiLM, h: np.ndarray, code: np.ndarray) -> np.ndarray:
    w1, b1, w2, b2 = (parameter.detach().numpy().astype(np.float64) for parameter in film.parameters())
    channels = h.shape[1]
    both = leaky(leaky(code @ w1.T + b1) @ w2.T + b2)
    # A narrow h takes the first rows: its sigma stands where a wide one's mu goes on.
    mu, sigma = both[:, :channels], both[:, channels : 2 * channels]
    return mu[:, :, None, None] * h + sigma[:, :, None, None]


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 12), dim=st.integers(1, 20))
def test_the_number_of_parameters_is_the_papers(channels, dim):
    film = FiLM(channels, dim, Condition("code"))
    assert sum(parameter.numel() for parameter in film.parameters()) == 4 * channels**2 + (2 * dim + 4) * channels


@pytest.mark.parametrize("codes", [5, 1])
@pytest.mark.parametrize(("channels", "dim"), [(4, 1), (3, 8)])
def test_it_computes_the_formula(channels, dim, codes):
    torch.manual_seed(0)
    condition = Condition("code")
    film = attach(FiLM(channels, dim, condition), condition)
    h, code = torch.randn(5, channels, 3, 2), torch.randn(codes, dim)
    expected = reference(film, h.double().numpy(), code.double().numpy())
    np.testing.assert_allclose(View(film, {"code": code})(h).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("active", [1, 2, 3, 4])
def test_fewer_channels_take_the_first_rows(active):
    torch.manual_seed(0)
    condition = Condition("code")
    film = attach(FiLM(4, 3, condition), condition)
    h, code = torch.randn(5, active, 3, 2), torch.randn(5, 3)
    expected = reference(film, h.double().numpy(), code.double().numpy())
    modulated = View(film, {"code": code})(h)
    np.testing.assert_allclose(modulated.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    modulated.sum().backward()
    touched = film.out.weight.grad.abs().sum(1) > 0
    assert touched.tolist() == [row < 2 * active for row in range(8)]


def test_modulation_goes_behind_the_stems_and_the_blocks_norms():
    roles = ("stem", "block", "shortcut", "final")
    condition = Condition("branch", "split", "code")
    net = dualise(nn.Sequential(*[mark(nn.BatchNorm2d(2 + i), role) for i, role in enumerate(roles)]), condition)
    modulate(net, DualNorm, 5, condition)
    assert [type(layer) for layer in net] == [nn.Sequential, nn.Sequential, DualNorm, DualNorm]
    for channels, (norm, film) in zip((2, 3), net[:2], strict=True):
        assert type(norm) is DualNorm
        assert film.hidden.weight.shape == (2 * channels, 5)


def test_each_sample_follows_its_own_code():
    torch.manual_seed(0)
    condition = Condition("code")
    film = attach(FiLM(4, 2, condition), condition)
    h, code = torch.randn(3, 4, 2, 2), torch.randn(3, 2)
    together = View(film, {"code": code})(h)
    for sample in range(3):
        torch.testing.assert_close(
            View(film, {"code": code[sample : sample + 1]})(h[sample : sample + 1])[0], together[sample]
        )


def test_gradients_reach_every_weight():
    condition = Condition("code")
    film = attach(FiLM(4, 2, condition), condition)
    View(film, {"code": torch.ones(1, 2)})(torch.randn(3, 4, 2, 2)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in film.parameters())
