"""A model under attack is held still: modes, flags, buffers, gradients and random numbers are left alone."""

from __future__ import annotations

import pytest
import torch

import robuststack as rs
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.layers.condition import View
from victims import create, everything, model, noisy, run, same


class Failing(rs.Attack):
    """Moves everything it can reach, and dies."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x)
        raise ZeroDivisionError("attack")


@pytest.mark.parametrize("mode", [True, False])
def test_modes_and_flags_are_put_back(mode):
    net = model().train(mode)
    net.norm.eval()
    net.head.weight.requires_grad_(False)
    before = everything(net)
    run(View(net), create("pgd", steps=2, restarts=2))
    assert same(before, everything(net))


def test_modes_flags_and_buffers_are_put_back_after_an_exception():
    net = model()
    net.drop.train()
    before = everything(net)
    with pytest.raises(ZeroDivisionError):
        run(View(net), Failing())
    assert same(before, everything(net))


def test_still_freezes_and_restores_also_on_exceptions():
    net = model().train()
    net.head.bias.requires_grad_(False)
    before = everything(net)

    def fail_inside() -> None:
        with frozen_eval(net):
            assert not any(module.training for module in net.modules())
            assert not any(parameter.requires_grad for parameter in net.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert same(before, everything(net))


def test_attacks_leave_no_gradients():
    net = model()
    run(View(net), create("pgd", steps=2))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_an_evaluation_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run(noisy(), create("pgd", steps=1), draws=2)
    assert torch.equal(state, torch.get_rng_state())
