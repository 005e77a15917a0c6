"""Where a function's modules are found."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from robuststack.engine.held_modules import LONG, held_modules

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


def test_a_skeleton_without_values_is_no_module_that_computes():
    skeleton, half = nn.Linear(2, 2, device="meta"), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    plain = nn.ReLU()
    assert held_modules([skeleton, half, plain]) == [half, plain]
