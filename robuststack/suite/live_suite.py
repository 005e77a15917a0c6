"""The suite of one model of a running program, and the registry that knows that model."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import DatasetError, ModelError, SuiteError
from robuststack.plugin.registry import Registry
from robuststack.suite.live_data import live_arrays, save_arrays
from robuststack.suite.live_model import Points, expanded_points, live_defense, model_name
from robuststack.suite.loading import board_name, suite_of
from robuststack.suite.single_model import Attacks, attack_of, component_of, listed_attacks
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import YamlSource, override

CALL = "robuststack.evaluate"
LIVE_DATA = "data"
"""What tables call arrays of the program."""
IN_A_FILE = {"labels of y_test": "labels", "images of x_test": "images"} | {
    f"{array} {of_one}": f"{given} {of_many}"
    for array, given in (("x_test", "images"), ("y_test", "labels"))
    for of_one, of_many in (("holds", "hold"), ("is", "are"), ("has", "have"))
}
"""What the dataset `npz` says of arrays in a file -> what a program is told of its own."""


def live_suite(
    model: object,
    registry: Registry,
    *,
    data: Any,
    data_options: Mapping[str, Any],
    folder: Path,
    points: Points | Sequence[str] | None,
    attacks: Attacks,
    eps: float | str | None,
    norm: str | None,
    draws: int | None,
    limit: int | None,
    stochastic: bool,
    name: str | None,
    overrides: Sequence[str],
) -> Suite:
    """A suite with `model` as its one defense, which is added to `registry`. Arrays are written into `folder`.

    Raises:
        RobustStackError: a model, data or an option that cannot be used, by the name of the argument.
    """
    draws, limit = _plain(draws), _plain(limit)
    points = () if points is None else points
    listed = isinstance(points, (list, tuple)) and all(isinstance(point, Mapping) for point in points)
    if not isinstance(points, Mapping) and not listed:
        raise SuiteError("points: those of a model in Python are mappings, such as points={'lambda_n': [0, 0.2, 1]}")
    if isinstance(model, type) and not points:
        raise ModelError(f"model: {model.__name__} is a class; give one model of it, such as {model.__name__}()")
    expanded = expanded_points(points) if points else []  # type: ignore[arg-type]
    shown = " ".join((name or "").split()) or model_name(model)
    registry.add(shown, live_defense(model, expanded, stochastic=stochastic))
    dataset = _dataset(model, registry, data, data_options, folder, expanded)
    attacks = listed_attacks("attacks:", attacks)
    attack_parts = [attack_of("attacks:", attack) for attack in attacks]
    threat = {key: value for key, value in (("norm", norm), ("eps", eps)) if value is not None}
    evaluate = {key: value for key, value in (("draws", draws), ("limit", limit)) if value is not None}
    content = {
        "datasets": [dataset],
        "defenses": [{"name": shown, **({"points": expanded} if expanded else {})}],
        "attacks": attack_parts,
        "threat": threat,
        "evaluate": evaluate,
        "name": board_name(shown),
        "description": f"{CALL}({shown}, data={'...' if not isinstance(data, str) else repr(data)},"
        f" attacks={attacks!r}{''.join(f', {key}={value!r}' for key, value in {**threat, **evaluate}.items())})",
    }
    marks: dict[tuple[str | int, ...], str] = {
        (): CALL,
        ("datasets", 0): "data",
        ("defenses", 0): "model",
        ("attacks",): "attacks",
        ("name",): "name",
        **{("attacks", index): f"attacks: {attack}" for index, attack in enumerate(attacks)},
        **{("threat", key): f"{key}={value!r}" for key, value in threat.items()},
        **{("evaluate", key): f"{key}={value!r}" for key, value in evaluate.items()},
    }
    source = YamlSource(content, marks)
    for assignment in overrides:
        if override(source, assignment)[0] == "extends":
            raise SuiteError(f"overrides: {assignment}: a model that is evaluated by itself extends no suite")
    return suite_of(source, Path(board_name(shown)))


def _plain(number: Any) -> Any:
    """A whole number of NumPy as Python's own; anything else as it is."""
    return operator.index(number) if type(number).__module__ == "numpy" and hasattr(number, "__index__") else number


def _dataset(
    model: object,
    registry: Registry,
    data: Any,
    options: Mapping[str, Any],
    folder: Path,
    points: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The dataset's part of the suite: a registered one by its name, or `npz` on the arrays of the program."""
    if isinstance(data, str):
        if Path(data.partition(" ")[0]).suffix in (".npz", ".npy"):
            raise DatasetError(f"data={data!r} is a file; give np.load({data!r}), or 'npz path={data}'")
        named = component_of("data:", data)
        return {**named, "options": {**named["options"], **options}}
    images, labels = live_arrays(data)
    options = {**options, "path": str(save_arrays(images, labels, folder))}
    if "classes" not in options and labels.dtype.kind in "iu" and images.dtype.kind in "biuf" and images.ndim in (3, 4):
        classes = _classes(model, images, options, points)
        # Test images alone need not show every class.
        if classes is not None and len(labels) and classes > int(labels.max()) and int(labels.min()) >= 0:
            options["classes"] = classes
    registry.add(LIVE_DATA, _without_file(registry.find("dataset", "npz").load()))
    return {"name": LIVE_DATA, "options": options}


def _without_file(npz: type[Any]) -> type[Any]:
    """The dataset `npz`, with errors for a program that gave arrays and knows of no file."""

    def error(_: object, problem: str) -> DatasetError:
        text = problem
        for of_file, given in IN_A_FILE.items():
            text = text.replace(of_file, given)
        options = "; data_options={...} has such options" if "white: " in text or "layout" in text else ""
        return DatasetError(f"data: {text}{options}")

    # Of the same name and module: jobs are known by the source of their components.
    return type(npz.__name__, (npz,), {"__module__": npz.__module__, "__doc__": npz.__doc__, "error": error})


def _classes(model: object, images: Any, options: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> int | None:
    import numpy as np
    import torch

    from robuststack.engine.live_network import classes_of, live_network

    # A copy: the array may be one that nobody may write, or of another byte order, which torch does not take.
    first = torch.from_numpy(np.array(images[:1], np.float32))
    if first.ndim == 3:
        first = first[:, None]
    elif options.get("layout") == "nhwc":
        first = first.permute(0, 3, 1, 2)
    if options.get("channels") == 3 and first.shape[1] == 1:
        first = first.expand(-1, 3, -1, -1)
    first = first / first.max().clamp(min=1)
    return classes_of(live_network(model, points[-1:]).get_submodule("networks.0") if points else model, first)
