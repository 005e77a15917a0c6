"""Where a function's modules are found."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.engine.held_modules import LONG, held_modules, unlisted_parameters

NET = nn.Linear(2, 2)
OTHER = nn.Linear(2, 2)
NETS = {"first": NET}
PACKAGE = types.SimpleNamespace(net=NET)
MANY: list[Any] = [*range(LONG), NET]


def by_global(x: Any) -> Any:
    return NET(x)


def by_helper(x: Any) -> Any:
    return by_global(x)


def by_container(x: Any) -> Any:
    return [net(x) for net in NETS.values()]


def by_namespace(x: Any) -> Any:
    return PACKAGE.net(x)


def by_attribute_of_that_name(x: Any) -> Any:
    return x.OTHER


def among_data(x: Any) -> Any:
    return MANY[-1](x)


class Wrapped:
    net = NET

    def __call__(self, x: Any) -> Any:
        return self.net(x)


class Reading:
    def __call__(self, x: Any) -> Any:
        return self.helper(x)

    @staticmethod
    def helper(x: Any) -> Any:
        return NET(x)


@dataclass(slots=True)
class Slotted:
    net: nn.Module

    def __call__(self, x: Any) -> Any:
        return self.net(x)


def closed(net: nn.Module) -> Callable[[Any], Any]:
    return lambda x: net(x)


HOLDERS = {
    "a module": NET,
    "its method": NET.forward,
    "a global": by_global,
    "a helper": by_helper,
    "a container": by_container,
    "a namespace": by_namespace,
    "a closure": closed(NET),
    "an object": Wrapped(),
    "its method that is called": Wrapped().__call__,
    "an object that reads a global": Reading(),
    "slots": Slotted(NET),
    "a partial": functools.partial(lambda x, net: net(x), net=NET),
    "a wrapped function": functools.wraps(by_global)(lambda x: x),
}


@pytest.mark.parametrize("thing", HOLDERS.values(), ids=HOLDERS)
def test_a_module_is_found(thing: object) -> None:
    assert held_modules(thing) == [NET]


@pytest.mark.parametrize(
    "thing",
    [by_attribute_of_that_name, among_data, nn.functional.relu, 7, None],
    ids=["attribute", "data", "library", "number", "nothing"],
)
def test_what_a_function_does_not_compute_with_is_not_found(thing: object) -> None:
    assert held_modules(thing) == []


def test_objects_that_hold_each_other_end() -> None:
    first, second = types.SimpleNamespace(), types.SimpleNamespace(net=NET)
    first.other, second.other = second, first
    assert held_modules(first) == [NET]


class Ensemble(nn.Module):
    """A registered layer, others in a list that holds the first too, in a dictionary in it, and inside of a member."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)  # 9, of which torch knows.
        within = nn.Module()
        within.inner = [nn.Linear(3, 4)]  # 16, hidden in a registered module.
        self.within = within
        self.members = [self.head, nn.Linear(4, 5), {"last": nn.Linear(5, 6)}]  # 25 and 36.
        self.members[1].deeper = [nn.Linear(6, 7)]  # 49.
        self.again = (self.members[1],)


def test_parameters_in_lists_of_modules_are_counted_once() -> None:
    assert sum(parameter.numel() for parameter in unlisted_parameters(Ensemble())) == 16 + 25 + 36 + 49
    assert unlisted_parameters(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(3))) == []


def test_zeros_in_a_list_of_modules_are_no_nonzero_parameters(tmp_path: Path) -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(12, 3)]
            nn.init.zeros_(self.layers[0].bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[0](x.flatten(1))

    data = torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    (row,) = rs.evaluate(Listed().eval(), data=data, attacks=["fgsm"], eps=0.1, store=tmp_path).rows
    assert (row.parameters, row.nonzero_parameters) == (39, 36)


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_of_quantised_layers_are_counted() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 5))
    quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    assert sum(parameter.numel() for parameter in quantised.parameters()) == 2 * 9 + 2
    weight, bias = unlisted_parameters(quantised)
    assert (weight.shape, bias.shape) == ((5, 4), (5,))
    assert torch.allclose(weight, network[2].weight, atol=0.01), "values, of which some may be zero"
