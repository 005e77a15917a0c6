"""What arguments of the Python API may be: a wrong one is refused in a line, before anything is read or computed."""

from __future__ import annotations

import functools
import inspect
import operator
import os
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from robuststack.errors import RobustStackError
from robuststack.plugin.registry import Registry
from robuststack.running.executors.ray_options import RayOptions

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Kind:
    """A kind of argument: which values are of it, and what it is in words."""

    fits: Callable[[Any], bool]
    words: str

    def or_none(self) -> Kind:
        return Kind(lambda value: value is None or self.fits(value), f"{self.words}, or None")


def _is_place(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    listed = isinstance(value, Iterable) and not isinstance(value, (bytes, dict))
    return isinstance(value, str) or (listed and all(isinstance(part, str) for part in value))


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # Python's, and NumPy's.


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


PLACE = Kind(_is_place, "a path")
TEXT = Kind(_is_text, "text")
TEXTS = Kind(_are_texts, "text, or a list of texts")
FLAG = Kind(_is_flag, "True or False")
WHOLE = Kind(_is_whole, "a whole number")
SECONDS = Kind(_is_number, "a number of seconds")


def of_types(words: str, *types: type) -> Kind:
    """A kind whose values are of one of these types."""
    return Kind(lambda value: isinstance(value, types), words)


EXECUTOR = of_types("local, ray, or RayOptions(...)", str, RayOptions)
REGISTRY = of_types("a Registry", Registry).or_none()


def checked(**kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments of these names are looked at before it is called.

    Raises:
        RobustStackError: by that function, of an argument that is not of its kind.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            for name, kind in kinds.items():
                if name in given and not kind.fits(given[name]):
                    raise RobustStackError(f"{function.__name__}: {name}={shown(given[name])}: must be {kind.words}")
            return function(*args, **kwargs)

        return call

    return decorate


def shown(value: object) -> str:
    """A value in a line: a short one as Python writes it, any other by its type."""
    plain = value is None or isinstance(value, (bool, int, float, str, bytes))
    return reprlib.repr(value) if plain else f"<{type(value).__name__}>"
