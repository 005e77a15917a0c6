"""The modules that a function, a method or an object of a program computes with, wherever it keeps them."""

from __future__ import annotations

import dis
import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from robuststack.engine.object_hash import filled, is_users, named_in, slots_of

DEPTH = 5
"""How many steps away from a function a module may be: by a helper that it calls, an object, a list."""
OBJECTS = 2000
"""How many objects are looked at: a program may hold any number of others beside its model."""
LONG = 1000
"""Longer containers hold data."""
CONTAINERS = (list, tuple, dict, deque)
MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in every module."""
DATA = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray)
"""What holds no module."""


def held_modules(thing: object) -> list[nn.Module]:
    """The modules that `thing` is or can reach: in closures, defaults, attributes and containers, and in the globals that
    its code and that of the functions it calls read. What lies inside a module is the module's."""
    found: list[nn.Module] = []
    # Each visited object is kept, so that its address is not given to another one meanwhile.
    visited: dict[int, object] = {}
    left = deque([(thing, 0)])
    while left and len(visited) < OBJECTS:
        value, steps = left.popleft()
        if isinstance(value, DATA) or id(value) in visited:
            continue
        visited[id(value)] = value
        if isinstance(value, nn.Module):
            found.append(value)
        elif steps < DEPTH:
            left += [(part, steps + 1) for part in _parts(value)]
    return found


def unlisted_parameters(model: nn.Module) -> list[Tensor]:
    """The parameters that torch's own `parameters()` does not give: those of modules that a module keeps in lists, tuples
    or dictionaries, each once, and the packed ones of quantised layers."""
    listed = {id(parameter) for parameter in model.parameters()}
    hidden: dict[int, Tensor] = {}
    packed: dict[int, list[Tensor]] = {}
    networks = [model]
    for network in networks:  # It grows: a network in a list may keep others in a list.
        for module in network.modules():
            packed[id(module)] = _packed_parameters(module)
            kept = [
                value for name, value in vars(module).items() if name not in MODULE and isinstance(value, CONTAINERS)
            ]
            networks += [held for held in held_modules(kept) if all(held is not known for known in networks)]
        hidden |= {id(parameter): parameter for parameter in network.parameters()}
    in_lists = [parameter for place, parameter in hidden.items() if place not in listed]
    return [*in_lists, *(tensor for tensors in packed.values() for tensor in tensors)]


def _packed_parameters(module: nn.Module) -> list[Tensor]:
    """The weights and biases of a layer that `torch.ao.quantization` made, which gives them by methods."""
    if not type(module).__module__.startswith("torch.ao.nn.quantized"):
        return []
    tensors = [give() for name in ("weight", "bias") if callable(give := getattr(module, name, None))]
    return [tensor.dequantize() for tensor in tensors if isinstance(tensor, Tensor)]


def _parts(value: Any) -> Iterable[object]:
    if isinstance(value, types.FunctionType):
        return _of_function(value)
    if isinstance(value, (types.MethodType, staticmethod, classmethod)):
        return [getattr(value, "__self__", None), value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, property):
        return [value.fget]
    if isinstance(value, type):
        # The class of a module says what any module of it does, not which one is used.
        return () if issubclass(value, nn.Module) or not is_users(value.__module__) else list(vars(value).values())
    if isinstance(value, (list, tuple, deque)):
        return list(value) if len(value) <= LONG else ()
    if isinstance(value, dict):
        return list(value.values()) if len(value) <= LONG else ()
    return _of_object(value)


def _of_function(function: types.FunctionType) -> Iterator[object]:
    yield from (part for cell in function.__closure__ or () for part in filled(cell))
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    if not is_users(function.__module__):
        return
    for name in dict.fromkeys(_globals_read(function.__code__)):
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, types.ModuleType) and is_users(value.__name__):
            yield from (vars(value).get(attribute) for attribute in named_in(function.__code__))


def _globals_read(code: types.CodeType) -> Iterator[str]:
    """Only what is read as a global: names of attributes stand in `co_names` too, and a global may be called the same."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_read(constant)


def _of_object(value: Any) -> Iterator[object]:
    attributes = getattr(value, "__dict__", {})
    if isinstance(value, types.ModuleType) or not isinstance(attributes, Mapping):
        return
    yield from list(attributes.values())
    yield from (getattr(value, name, None) for base in type(value).__mro__ for name in slots_of(base))
    yield from type(value).__mro__
