"""Dual norm: each branch normalises its own samples and learns from no others."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from robuststack.errors import PluginError
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.dual_norm import DualNorm, dualise
from robuststack.layers.roles import mark, role_of

N, SPLIT = 8, 3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = mark(nn.BatchNorm2d(3), "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    condition = Condition("branch", "split")
    net = attach(dualise(Net(), condition), condition)
    for branch in net.norm.branches:
        nn.init.uniform_(branch.weight)
        nn.init.uniform_(branch.bias)
    return net.train()


@pytest.fixture
def x() -> Tensor:
    images = torch.randn(N, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    images[SPLIT:] += 5  # So that mixing the two halves up shows.
    return images


def same_state(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(tensor, other)
        for tensor, other in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("training", [True, False])
def test_a_split_batch_equals_two_batches(net, x, training):
    net.train(training)
    apart = copy.deepcopy(net)
    whole = View(net, {"split": SPLIT})(x)
    halves = [View(apart, {"branch": CLEAN})(x[:SPLIT]), View(apart, {"branch": ADVERSARIAL})(x[SPLIT:])]
    assert torch.equal(whole, torch.cat(halves))
    assert same_state(net, apart)


@pytest.mark.parametrize("training", [True, False])
def test_a_mask_equals_a_split(net, x, training):
    net.train(training)
    masked = copy.deepcopy(net)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    split = View(net, {"split": SPLIT})(x)[order]
    mask = View(masked, {"branch": order >= SPLIT})(x[order])
    torch.testing.assert_close(mask, split)
    for tensor, other in zip(net.state_dict().values(), masked.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, other)


@pytest.mark.parametrize("used", [CLEAN, ADVERSARIAL])
def test_only_the_branch_in_use_learns_statistics(net, x, used):
    before = copy.deepcopy(net.norm.branches)
    View(net, {"branch": used})(x)
    assert same_state(net.norm.branches[1 - used], before[1 - used])
    assert not same_state(net.norm.branches[used], before[used])
    assert int(net.norm.branches[used].num_batches_tracked) == 1
    expected = 0.9 * before[used].running_mean + 0.1 * x.mean((0, 2, 3))
    torch.testing.assert_close(net.norm.branches[used].running_mean, expected)


@pytest.mark.parametrize(("split", "used"), [(0, ADVERSARIAL), (N, CLEAN), (N + 4, CLEAN)])
def test_a_split_at_the_edge_is_one_branch(net, x, split, used):
    whole = copy.deepcopy(net)
    assert torch.equal(View(net, {"split": split})(x), View(whole, {"branch": used})(x))
    assert same_state(net, whole)


@pytest.mark.parametrize("used", [CLEAN, ADVERSARIAL])
def test_a_mask_that_holds_one_branch_leaves_the_other_alone(net, x, used):
    before = copy.deepcopy(net.norm.branches[1 - used])
    View(net, {"branch": torch.full((N,), bool(used))})(x)
    assert same_state(net.norm.branches[1 - used], before)


def test_gradients_reach_the_branch_in_use_only(net, x):
    View(net, {"branch": ADVERSARIAL})(x).square().sum().backward()
    assert net.norm.branches[CLEAN].weight.grad is None
    assert net.norm.branches[ADVERSARIAL].weight.grad is not None


def test_the_branches_start_alike_and_keep_the_role():
    norm = mark(nn.BatchNorm2d(3), "final")
    dual = DualNorm(norm, Condition("branch", "split"))
    assert dual.branches[CLEAN] is norm
    assert same_state(*dual.branches)
    assert role_of(dual) == role_of(dual.branches[ADVERSARIAL]) == "final"


def test_every_batch_norm_is_doubled():
    net = nn.Sequential(*[nn.Sequential(nn.Conv2d(2, 2, 1), mark(nn.BatchNorm2d(2), "block")) for _ in range(3)])
    before = sum(parameter.numel() for parameter in net.parameters() if parameter.dim() == 1 and parameter.numel() == 2)
    dualise(net, Condition("branch", "split"))
    assert sum(isinstance(module, DualNorm) for module in net.modules()) == 3
    assert sum(parameter.numel() for parameter in net.parameters()) == before + 3 * (4 + 4)


OTHERS = {
    "group": (lambda: nn.GroupNorm(2, 4), (N, 4, 3, 3), 4, 1),
    "layer over tokens": (lambda: nn.LayerNorm(4), (N, 3, 4), 4, -1),
    "layer over an image": (lambda: nn.LayerNorm((4, 3, 3)), (N, 4, 3, 3), 4, -3),
    "layer over channels": (lambda: LayerNorm2d(4), (N, 4, 3, 3), 4, 1),
    "instance": (lambda: nn.InstanceNorm2d(4, affine=True), (N, 4, 3, 3), 4, 1),
    "root mean square": (lambda: nn.RMSNorm(4), (N, 3, 4), 4, -1),
    "batch of vectors": (lambda: nn.BatchNorm1d(4), (N, 4), 4, 1),
}


@pytest.mark.parametrize(("make", "shape", "features", "axis"), OTHERS.values(), ids=OTHERS)
def test_norms_of_other_kinds_have_two_branches_too(make, shape, features, axis):
    torch.manual_seed(0)
    condition = Condition("branch", "split")
    net = attach(dualise(nn.Sequential(mark(make(), "block")), condition), condition)
    clean, adversarial = net[0].branches
    assert (net[0].num_features, net[0].channel_axis) == (features, axis)
    for parameter in net.parameters():
        nn.init.uniform_(parameter)
    images = torch.randn(shape)
    expected = torch.cat([copy.deepcopy(clean)(images[:SPLIT]), copy.deepcopy(adversarial)(images[SPLIT:])])
    assert torch.equal(View(net, {"split": SPLIT})(images), expected)
    torch.testing.assert_close(View(net, {"branch": torch.arange(N) >= SPLIT})(images), expected)
    assert torch.equal(View(net.eval(), {"branch": ADVERSARIAL})(images), adversarial(images))
    assert sum(weight.numel() for weight in net.parameters()) == 2 * sum(
        weight.numel() for weight in make().parameters()
    )


class TokensFirst(nn.Module):
    """A network whose norm gets [L, N, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = mark(nn.LayerNorm(3), "block")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(2).permute(2, 0, 1)).mean(0)


@pytest.mark.parametrize("values", [{"split": SPLIT}, {"branch": torch.arange(N) >= SPLIT}], ids=["split", "mask"])
def test_a_norm_that_does_not_get_the_batch_first_cannot_split_it(x, values):
    condition = Condition("branch", "split")
    net = attach(dualise(TokensFirst(), condition), condition)
    View(net, {"branch": ADVERSARIAL})(x)  # One branch for all needs no batch.
    with pytest.raises(PluginError) as caught:
        View(net, values)(x)
    assert str(caught.value) == (
        "dual norm splits a batch of 8 images, and a norm gets 16 of them: it needs an architecture that keeps the batch in"
        " the first dimension"
    )


def test_a_network_without_a_norm_is_refused():
    with pytest.raises(PluginError) as caught:
        dualise(nn.Conv2d(1, 1, 1), Condition("branch", "split"))
    assert str(caught.value) == (
        "dual norm needs an architecture with batch, group, instance or layer norms, and this one has none"
    )


def test_a_norm_without_a_role_is_refused():
    with pytest.raises(PluginError, match="has no role"):
        dualise(nn.Sequential(nn.BatchNorm2d(2)), Condition("branch", "split"))


def test_norms_that_torch_computes_past_their_forward_pass_are_refused() -> None:
    model = nn.ModuleDict({"encode": nn.TransformerEncoderLayer(4, 1)})
    with pytest.raises(PluginError, match="no effect inside encode, a TransformerEncoderLayer"):
        dualise(model, Condition("branch", "split"))
