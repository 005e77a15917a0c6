"""A model of a running program as a defense of its own, which one run knows: what `robuststack.evaluate(model)` scores."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from robuststack.errors import ModelError
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Point, Setting
from robuststack.plugin.options import Options, option

if TYPE_CHECKING:
    from torch import nn

Points = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Knob -> value or list (array, range) of values; the product is evaluated. A list of such mappings is their union."""


def model_name(model: object) -> str:
    """What tables call a program's model: the name of its class, or of the function."""
    name = getattr(model, "__name__", None) or type(model).__name__
    return re.sub(r"\W+", "-", str(name)).strip("-") or "model"


def expanded_points(points: Points) -> list[dict[str, Any]]:
    """Every operating point, whole.

    Raises:
        ModelError: two of the mappings name different knobs, or a value is no number, text or truth value.
    """
    grids = [points] if isinstance(points, Mapping) else list(points)
    expanded: list[dict[str, Any]] = []
    for grid in grids:
        if not isinstance(grid, Mapping) or not grid:
            raise ModelError(f"points: {grid!r} names no knob; write points={{'lambda_n': [0, 0.2, 1]}}")
        lists = [_listed(values) for values in grid.values()]
        if [] in lists:
            raise ModelError(
                f"points: {list(grid)[lists.index([])]} has no value; write points={{'lambda_n': [0, 0.2, 1]}}"
            )
        expanded += [dict(zip(grid, values, strict=True)) for values in itertools.product(*lists)]
    for point in expanded:
        if point.keys() != expanded[0].keys():
            raise ModelError(f"points: {sorted(point)} beside {sorted(expanded[0])}; every point names the same knobs")
        for knob, value in point.items():
            if not isinstance(value, (bool, int, float, str)) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                raise ModelError(f"points: {knob} is {value!r}; valid: finite numbers, texts, True and False")
    return [point for index, point in enumerate(expanded) if point not in expanded[:index]]


def _listed(values: Any) -> list[Any]:
    """A value or several, of whatever type arrays and tensors give them."""
    values = values.tolist() if hasattr(values, "tolist") else values
    several = values if isinstance(values, (list, tuple, range)) else [values]
    return [value.tolist() if hasattr(value, "tolist") else value for value in several]


def _layers(model: object) -> Iterable[object]:
    modules: Any = getattr(model, "modules", None)
    return modules() if callable(modules) and not isinstance(model, type) else ()


def live_defense(model: object, points: Sequence[Mapping[str, Any]], *, stochastic: bool) -> type[Defense]:
    """The class of a defense whose model is `model`, at any of `points` or, without any, as it is. It is known by the hash
    of all that `model` is made of.

    Raises:
        ModelError: `points` are given, and the model has no method `at`.
    """
    from robuststack.engine.object_hash import object_hash

    if points and not callable(getattr(model, "at", None)):
        raise ModelError(f"points: {model_name(model)} has no method `at`, which would give the model at a point")
    # By aliases: pydantic keeps some names for itself.
    fields: Any = {
        f"knob_{place}": (Any, option(value, "A knob.", alias=knob))
        for place, (knob, value) in enumerate(points[-1].items() if points else ())
    }
    knobs: Any = create_model("Knobs", __base__=Options, **fields)
    content = object_hash(model)

    class LiveModel(Defense):
        """A model of a running program."""

        trains = False
        # Layers of the user's say by a method `freeze` that they can keep a draw; the rest is tried before any compute.
        freezable = any(callable(getattr(layer, "freeze", None)) for layer in _layers(model))
        Knobs = knobs  # type: ignore[assignment]

        @property
        def fingerprint(self) -> str:
            return f"object:{content}"

        def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
            from robuststack.engine.live_network import live_network

            return live_network(model, points, shape)

        def operating_points(self) -> list[Point]:
            return [dict(point) for point in points] or [{}]

        def check_point(self, point: Point) -> None:
            if points and dict(point) not in points:
                raise ValueError(f"{dict(point)} is not among the points that were given")

        def setting(self, point: Point) -> Setting:
            from robuststack.engine.live_network import condition_of

            return Setting(condition_of(point), stochastic=stochastic)

        def quiet(self, setting: Setting) -> Setting | None:
            return None

        def parameters(self, model: nn.Module, setting: Setting) -> int:
            network: Any = model
            return super().parameters(network.at(setting.values) if points else network, setting)

    return LiveModel
