"""The modules that a function, a method or an object of a program computes with, wherever it keeps them."""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from robuststack.engine.object_hash import filled, is_of_users, is_users, named_in, named_inside, slots_of

DEPTH = 5
"""How many steps away from a function a module may be: by a helper that it calls, an object, a list."""
OBJECTS = 2000
"""How many objects are looked at: a program may hold any number of others beside its model."""
LONG = 1000
"""Longer containers hold data."""
DATA = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray)
"""What holds no module."""


def held_modules(thing: object) -> list[nn.Module]:
    """The modules that `thing` is or can reach: in closures, defaults, attributes and containers, and in the globals that
    its code and that of the functions it calls read. What lies inside a module is the module's. Skeletons are left out:
    `torch.func.functional_call` takes a module without values to compute with weights that lie elsewhere."""
    found: list[nn.Module] = []
    _walk(thing, lambda value: found.append(value) if isinstance(value, nn.Module) and not _skeleton(value) else None)
    return found


def _skeleton(module: nn.Module) -> bool:
    """Whether a module has weights and none of them has values."""
    tensors = [*module.parameters(), *module.buffers()]
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def held_tensors(thing: object) -> list[Tensor]:
    """The tensors that `thing` is or can reach in the same way, outside of modules."""
    found: list[Tensor] = []
    _walk(thing, lambda value: found.append(value) if isinstance(value, Tensor) else None)
    return found


def forward_code(module: nn.Module) -> list[object]:
    """The functions of a module's own class that its `forward` is and names: what they hold, the module computes with."""
    functions: dict[str, object] = {}
    names = ["forward"]
    for name in names:  # It grows: a method calls others.
        function = inspect.getattr_static(type(module), name, None)
        function = getattr(function, "__func__", function)
        if name not in functions and isinstance(function, types.FunctionType):
            functions[name] = function
            names += named_in(function.__code__) if is_of_users(function) else ()
    return list(functions.values())


def _walk(thing: object, see: Callable[[object], None]) -> None:
    """Show each object that `thing` reaches to `see`, once."""
    # Each visited object is kept, so that its address is not given to another one meanwhile.
    visited: dict[int, object] = {}
    left = deque([(thing, 0)])
    while left and len(visited) < OBJECTS:
        value, steps = left.popleft()
        if isinstance(value, DATA):
            see(value)
            continue
        if id(value) in visited:
            continue
        visited[id(value)] = value
        see(value)
        if not isinstance(value, nn.Module) and steps < DEPTH:
            left += [(part, steps + 1) for part in _parts(value)]


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
    if not is_of_users(function):
        return
    for name in dict.fromkeys(_globals_read(function.__code__)):
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, types.ModuleType):
            yield from (inner for _, inner in named_inside(value, {*named_in(function.__code__)}))


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
