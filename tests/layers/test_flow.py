"""The operations of a forward pass, in order, with the layers asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robuststack.layers.flow import operations


class Net(nn.Module):
    """A fork and a join, a weight that is computed, and Python that branches on a tensor's value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        if float(h.detach().sum()) < float("inf"):
            h = h.relu() + h * self.scale.exp()
        return h.mean((2, 3))


def test_each_operation_stands_behind_those_it_reads_and_weights_are_left_out():
    net = Net()
    flow = operations(net, (1, 3, 3), (nn.Conv2d,))
    names = [operation.name.partition("Backward")[0] for operation in flow]
    assert names[1:] == ["Convolution", "Relu", "Mul", "Add", "Mean"]
    assert [operation.inputs for operation in flow] == [(), (0,), (1,), (1,), (2, 3), (4,)]
    assert [operation.module for operation in flow] == [None, net.conv, None, None, None, None]


def test_only_layers_of_the_kinds_asked_for_are_named():
    assert not any(operation.module for operation in operations(Net(), (1, 3, 3), (nn.BatchNorm2d,)))


def test_a_layer_used_twice_is_named_twice():
    layer = nn.Conv2d(1, 1, 1)
    flow = operations(nn.Sequential(layer, nn.ReLU(inplace=True), layer), (1, 2, 2), (nn.Conv2d,))
    assert [operation.module for operation in flow] == [None, layer, None, layer]


def test_a_frozen_network_in_training_mode_can_be_looked_at_too():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).requires_grad_(False)
    flow = operations(net, (1, 1, 1), (nn.BatchNorm2d,))
    assert [operation.module for operation in flow] == [None, None, net[1]]
