"""Sparse convolutions: how many weights are alive, which are exchanged, and that their number stays."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robuststack.layers.sparse import alive_at, apply_masks, divide, masked_layers, regrow, sparsify


def make(density: float = 0.3) -> nn.Sequential:
    torch.manual_seed(0)
    return sparsify(
        nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten(), nn.Linear(8, 3)), density
    )


def alive(net: nn.Module) -> list[int]:
    return [int(layer.mask.sum()) for _, layer in masked_layers(net)]


def momentum_of(net: nn.Module, seed: int = 1) -> dict[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {layer.weight: torch.randn(layer.weight.shape, generator=source) for _, layer in masked_layers(net)}


@pytest.mark.parametrize("density", [1e-6, 0.1, 0.5, 1.0])
def test_every_convolution_gets_a_random_mask_of_the_density(density):
    net = make(density)
    assert [path for path, _ in masked_layers(net)] == ["0", "2"]
    assert alive(net) == [alive_at(density, 108), alive_at(density, 432)]
    assert alive_at(density, 108) == max(1, round(108 * density))
    for _, layer in masked_layers(net):
        assert layer.mask.dtype is torch.bool
        assert torch.equal(layer.weight != 0, layer.mask)
    assert {"0.mask", "2.mask"} <= net.state_dict().keys()
    assert "mask" not in net[4].state_dict()


def test_masks_follow_the_seed():
    first, again = make().state_dict(), make().state_dict()
    assert torch.equal(first["2.mask"], again["2.mask"])
    torch.manual_seed(1)
    assert not torch.equal(sparsify(nn.Conv2d(6, 8, 3), 0.3).mask, first["2.mask"])


def test_dead_weights_have_gradients_and_are_put_back_to_zero():
    net = make()
    net(torch.rand(4, 2, 5, 5)).square().sum().backward()
    for _, layer in masked_layers(net):
        assert float(layer.weight.grad[~layer.mask].abs().sum()) > 0
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert any(bool((layer.weight[~layer.mask] != 0).any()) for _, layer in masked_layers(net))
    apply_masks(net)
    assert all(bool((layer.weight[~layer.mask] == 0).all()) for _, layer in masked_layers(net))


def test_the_smallest_weights_go_and_the_most_missed_ones_come():
    conv = sparsify(nn.Conv2d(1, 8, 1, bias=False), 0.5)
    with torch.no_grad():
        conv.mask.copy_(torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool).view(8, 1, 1, 1))
        conv.weight.copy_(torch.tensor([0.3, -0.1, -0.9, 0.2, 0, 0, 0, 0]).view(8, 1, 1, 1))
    momentum = torch.tensor([9.0, 0.1, 9, 0.2, -7, 0.3, 5, -6]).view(8, 1, 1, 1)
    regrow(conv, {conv.weight: momentum}, 0.5)
    assert conv.mask.flatten().tolist() == [True, False, True, False, True, False, False, True]
    torch.testing.assert_close(conv.weight.flatten(), torch.tensor([0.3, 0, -0.9, 0, 0, 0, 0, 0]))


def test_more_weights_grow_where_the_momentum_is_larger():
    net = make(0.3)
    before = alive(net)
    momentum = momentum_of(net)
    for factor, weight in zip((30.0, 1.0), momentum, strict=True):
        momentum[weight] *= factor
    means = [float(momentum[layer.weight][layer.mask].abs().mean()) for _, layer in masked_layers(net)]
    regrow(net, momentum, 0.25)
    pruned = [math.ceil(0.25 * count) for count in before]
    first = alive(net)[0] - before[0] + pruned[0]
    assert first == pytest.approx(sum(pruned) * means[0] / sum(means), abs=1)
    assert sum(alive(net)) == sum(before)


@settings(max_examples=40, deadline=None)
@given(density=st.floats(0.01, 1), rate=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_the_number_of_weights_alive_never_changes(density, rate, seed):
    net = make(density)
    before = sum(alive(net))
    for round_ in range(3):
        regrow(net, momentum_of(net, seed + round_), rate)
        assert sum(alive(net)) == before
        assert all(bool((layer.weight[~layer.mask] == 0).all()) for _, layer in masked_layers(net))


def test_no_rate_changes_nothing():
    net = make()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    regrow(net, momentum_of(net), 0.0)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_single_input_channel_is_laid_out_both_ways_at_once():
    net = sparsify(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)), 0.5).to(memory_format=torch.channels_last)
    before = sum(alive(net))
    regrow(net, momentum_of(net), 0.3)
    assert sum(alive(net)) == before


def test_the_layout_in_memory_does_not_matter():
    plain, last = make(), make().to(memory_format=torch.channels_last)
    assert last[2].mask.is_contiguous(memory_format=torch.channels_last)
    for net in (plain, last):
        regrow(net, momentum_of(net), 0.5)
    for tensor, other in zip(plain.state_dict().values(), last.state_dict().values(), strict=True):
        assert torch.equal(tensor, other)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 500)), min_size=1, max_size=12), st.floats(0, 1))
def test_whole_numbers_add_up_and_keep_to_the_room(layers, filled):
    shares, room = zip(*layers, strict=True)
    total = int(filled * sum(room))
    given_ = divide(total, shares, room)
    assert sum(given_) == total
    assert all(0 <= share <= most for share, most in zip(given_, room, strict=True))


@pytest.mark.parametrize(
    ("total", "shares", "room", "expected"),
    [
        (10, [1, 1], [10, 10], [5, 5]),
        (10, [3, 2], [10, 10], [6, 4]),
        # What the first cannot take goes to the others in proportion.
        (10, [8, 1, 1], [4, 10, 10], [4, 3, 3]),
        # No share is left: wherever there is room.
        (6, [1, 0, 0], [2, 9, 9], [2, 2, 2]),
        (1, [1, 2, 2], [5, 5, 5], [0, 1, 0]),
        (0, [0.0], [0], [0]),
    ],
)
def test_it_divides_in_proportion(total, shares, room, expected):
    assert divide(total, shares, room) == expected
