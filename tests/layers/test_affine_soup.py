"""Affine soups: batch norm whose gamma, beta and, where it has two, statistics lie between two ends."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.affine_soup import AffineSoup, add_soup
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.roles import mark, role_of

CLEAN, ADVERSARIAL = 0.0, 1.0


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = mark(nn.BatchNorm2d(3, eps=0.01, momentum=0.2), "final")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


def make(dual: bool) -> Net:
    torch.manual_seed(0)
    condition = Condition("mix")
    net = attach(add_soup(Net(), condition, dual=dual), condition)
    for parameter in net.norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in net.norm.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return net


@pytest.fixture
def x() -> Tensor:
    return 2 + torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def at(net: nn.Module, mix: float) -> View:
    return View(net, {"mix": mix})


@pytest.mark.parametrize("mix", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("dual", [True, False])
def test_it_computes_the_mixture(dual, mix, x):
    net = make(dual).eval()
    clean, adversarial = net.norm.ends

    def mixed(name: str, both: bool = True) -> Tensor:
        first = getattr(clean, name)
        value = (1 - mix) * first + mix * getattr(adversarial, name) if both else first
        return value[:, None, None]

    normal = (x - mixed("running_mean", dual)) / (mixed("running_var", dual) + 0.01).sqrt()
    torch.testing.assert_close(at(net, mix)(x), mixed("weight") * normal + mixed("bias"))


@pytest.mark.parametrize("mix", [CLEAN, ADVERSARIAL])
@pytest.mark.parametrize("dual", [True, False])
def test_at_an_end_it_is_that_ends_batch_norm_and_moves_its_statistics(dual, mix, x):
    net = make(dual).train()
    clean, adversarial = net.norm.ends
    # The batch norm whose gamma and beta are the end's, and whose statistics are that end's or the shared ones.
    plain = copy.deepcopy(adversarial if dual and mix else clean)
    plain.weight, plain.bias = (
        copy.deepcopy(net.norm.ends[int(mix)].weight),
        copy.deepcopy(net.norm.ends[int(mix)].bias),
    )
    idle = copy.deepcopy(clean if mix else adversarial)
    out = at(net, mix)(x)
    torch.testing.assert_close(out, plain(x))
    used = adversarial if dual and mix else clean
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(used, name), getattr(plain, name))
        if dual:
            assert torch.equal(getattr(clean if mix else adversarial, name), getattr(idle, name))
    out.square().sum().backward()
    learnt = [end.weight.grad is not None for end in net.norm.ends]
    assert learnt == [mix == CLEAN, mix == ADVERSARIAL]


def test_shared_statistics_are_one_set_and_move_at_both_ends(x):
    net = make(False).train()
    assert sorted(name for name, _ in net.norm.named_buffers()) == [
        "ends.0.num_batches_tracked", "ends.0.running_mean", "ends.0.running_var",
    ]  # fmt: skip
    before = net.norm.ends[0].running_mean.clone()
    at(net, CLEAN)(x)
    at(net, ADVERSARIAL)(x + 1)
    batch = [0.2 * (x + shift).mean((0, 2, 3)) for shift in (0, 1)]
    torch.testing.assert_close(net.norm.ends[0].running_mean, 0.8 * (0.8 * before + batch[0]) + batch[1])


@pytest.mark.parametrize("dual", [True, False])
def test_a_pass_leaves_the_parameters_in_place(dual, x):
    net = make(dual)
    before = {path: (parameter, parameter.clone()) for path, parameter in net.named_parameters()}
    for mix in (0.0, 0.4, 1.0):
        at(net.eval(), mix)(x)
    after = dict(net.named_parameters())
    assert all(
        after[path] is parameter and torch.equal(parameter, value) for path, (parameter, value) in before.items()
    )


def test_training_between_the_ends_has_no_statistics_of_its_own(x):
    with pytest.raises(
        RuntimeError, match=r"mix 0\.4 in train mode: with dual statistics only the ends, 0 and 1, train"
    ):
        at(make(True).train(), 0.4)(x)
    at(make(False).train(), 0.4)(x)


def test_both_ends_start_as_the_norm_they_come_from_and_keep_its_role():
    norm = mark(nn.BatchNorm2d(4), "shortcut")
    nn.init.uniform_(norm.weight)
    soup = AffineSoup(norm, Condition("mix"), dual=False)
    assert soup.ends[0] is norm
    assert torch.equal(soup.ends[1].weight, norm.weight)
    assert soup.ends[1].weight is not norm.weight
    assert role_of(soup) == "shortcut"


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.LayerNorm(5), nn.RMSNorm(5)], ids=lambda norm: type(norm).__name__
)
@pytest.mark.parametrize("training", [True, False])
def test_norms_without_statistics_mix_what_they_have(norm, training):
    condition = Condition("mix")
    net = attach(add_soup(nn.Sequential(mark(norm, "block")), condition, dual=False), condition).train(training)
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    mixed = copy.deepcopy(net[0].ends[0])
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():
            parameter.copy_(0.7 * parameter + 0.3 * getattr(net[0].ends[1], name))
    images = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(at(net, 0.3)(images), mixed(images))
    at(net, ADVERSARIAL)(images).square().sum().backward()
    assert [end.weight.grad is not None for end in net[0].ends] == [False, True]


def test_networks_without_a_fitting_norm_are_refused():
    with pytest.raises(
        PluginError, match="an affine soup needs an architecture with norm layers, and this one has none"
    ):
        add_soup(nn.Conv2d(1, 1, 1), Condition("mix"), dual=False)
    for lacking in (
        nn.BatchNorm2d(2, affine=False),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.GroupNorm(2, 2, affine=False),
    ):
        with pytest.raises(PluginError) as caught:
            add_soup(nn.Sequential(mark(lacking, "stem")), Condition("mix"), dual=False)
        assert str(caught.value) == (
            "an affine soup needs norms with gamma, and batch norms with beta and running statistics; 0 lacks some"
        )
    with pytest.raises(PluginError, match="statistics: dual needs an architecture with batch norms"):
        add_soup(nn.Sequential(mark(nn.GroupNorm(1, 2), "stem")), Condition("mix"), dual=True)
