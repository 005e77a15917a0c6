"""Sizes that papers print, as data: what is printed, and what to count here to compare it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any, Literal


@dataclass(frozen=True)
class Size:
    """Something to count: parameters or multiply-accumulates of an architecture under a defense."""

    architecture: str
    defense: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    """The defense's."""
    num_classes: int = 10
    shape: tuple[int, int, int] = (3, 32, 32)
    quantity: Literal["parameters", "macs"] = "parameters"
    branches: Literal["all", "first"] = "all"
    """Which branches of a dual batch norm count."""


@dataclass(frozen=True)
class PublishedSize:
    """One printed figure, and its candidates: convention -> the size, or the ratio of two, that it may have meant."""

    source: str
    """The paper and the place in it."""
    method: str
    architecture: str
    printed: str
    """As printed; its digits say how exact it is."""
    unit: Literal["M parameters", "G MACs", "x"]
    conventions: Mapping[str, Size | tuple[Size, Size]]

    @property
    def scale(self) -> int:
        return {"M parameters": 10**6, "G MACs": 10**9, "x": 1}[self.unit]


def agreement(printed: str, value: Decimal) -> Literal["yes", "rounded", "cut off", "no"]:
    """Whether `value` gives the printed figure: rounded, with its further digits cut off, or `yes`, both ways."""
    target = Decimal(printed)
    ways = {
        way: value.quantize(target, rounding) == target
        for way, rounding in (("rounded", ROUND_HALF_UP), ("cut off", ROUND_DOWN))
    }
    if all(ways.values()):
        return "yes"
    return "rounded" if ways["rounded"] else "cut off" if ways["cut off"] else "no"
