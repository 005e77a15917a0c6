"""The suite of one finished model, said in arguments in place of a file: what `robuststack evaluate` runs.

Components are written as tables print them: `oat dim=1`, `pgd steps=50 restarts=5`. Everything after the name is KEY=VALUE,
and the values are YAML, as in a suite.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import RobustStackError, SuiteError
from robuststack.paths import absolute
from robuststack.plugin.operating_point import Point
from robuststack.plugin.registry import Registry
from robuststack.suite.exported import Exported, exported
from robuststack.suite.live_model import Points, expanded_points
from robuststack.suite.loading import board_name, suite_of
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import YamlSource, override, value_of

COMMAND = "robuststack evaluate"
Attack = str | Mapping[str, Any]
Attacks = Attack | Sequence[Attack]
"""Each as text, or with the keys of a suite; one alone needs no list."""
ATTACK_FORMS = (
    "no attack; valid: 'pgd', 'pgd steps=50', {'name': 'pgd', 'options': {'steps': 50}}, or a list of such attacks"
)


def single_suite(
    *,
    dataset: str,
    defense: str | None = None,
    architecture: str | None = None,
    attacks: Attacks = ("pgd",),
    load: str | None = None,
    python: str | None = None,
    points: Sequence[str] | Points | None = (),
    eps: str | float | None = None,
    norm: str | None = None,
    stochastic: bool = False,
    draws: int | None = None,
    limit: int | None = None,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
) -> Suite:
    """A suite with one defense, whose model is loaded or made by a function, or is the defense's own. `stochastic` says
    that two forward passes of such a model differ.

    A file that `robuststack export` wrote names its defense and its network; without those a defense is `none`.

    Raises:
        SuiteError: with the option that is wrong, as the command line writes it.
    """
    if load is not None and python is not None:
        raise SuiteError(f"--load {load}: the model is either loaded or made by --python {python}; leave one out")
    if python is not None and architecture is not None:
        raise SuiteError(f"--architecture {architecture}: --python {python} brings its own network; leave one out")
    file = _exported(load) if load is not None else None
    if load is not None and architecture is None and file is None:
        raise SuiteError(f"--load {load}: name the network that the weights are of with --architecture")
    if defense is None and file is not None:
        entry, named = file.written("defense", registry or Registry()), f"--load {load}"
    else:
        entry, named = component_of("--defense", defense or "none"), f"--defense {defense or 'none'}"
    images = component_of("--dataset", dataset)
    _refuse_place(images["name"])
    data: dict[str, Any] = {"datasets": [images], "defenses": [entry]}
    marks: dict[tuple[str | int, ...], str] = {
        (): COMMAND,
        ("datasets", 0): f"--dataset {dataset}",
        ("defenses", 0): named,
    }
    if architecture is not None:
        data["architectures"] = [component_of("--architecture", architecture)]
        marks["architectures", 0] = f"--architecture {architecture}"
    elif file is not None:
        data["architectures"] = [file.written("architecture", registry or Registry())]
        marks["architectures", 0] = f"--load {load}"
    if load is not None or python is not None:
        entry["model"] = {"load": load} if load is not None else {"python": python}
        marks["defenses", 0, "model"] = f"--load {load}" if load is not None else f"--python {python}"
        if stochastic:
            entry["model"]["stochastic"] = True
    elif stochastic:
        raise SuiteError("--stochastic: only a model that is made by --python or loaded can be declared to draw noise")
    listed = listed_points(points)
    entry["points"] = [point_of(point) if isinstance(point, str) else point for point in listed]
    marks |= {("defenses", 0, "points", index): f"--point {_written(point)}" for index, point in enumerate(listed)}
    attacks = listed_attacks("--attack", attacks)
    data["attacks"] = [attack_of("--attack", attack) for attack in attacks]
    marks |= {("attacks", index): f"--attack {attack}" for index, attack in enumerate(attacks)}
    if threat := {key: value for key, value in (("norm", norm), ("eps", eps)) if value is not None}:
        data["threat"] = threat
        marks |= {("threat", key): f"--{key} {value}" for key, value in threat.items()}
    data["evaluate"] = {key: value for key, value in (("draws", draws), ("limit", limit)) if value is not None}
    marks |= {("evaluate", key): f"--{key} {value}" for key, value in data["evaluate"].items()}
    model = load or python or defense or "none"
    # Every option that was given, as the command line would have it.
    told = [word for mark in dict.fromkeys(marks.values()) if mark != COMMAND for word in mark.split(" ", 1)]
    told += ["--stochastic"] if stochastic else []
    told += [word for assignment in overrides for word in ("--set", assignment)]
    data |= {
        "name": board_name(Path(load).stem if load else model),
        "description": shlex.join([*COMMAND.split(), *told]),
    }
    source = YamlSource(data, marks)
    for assignment in overrides:
        if override(source, assignment)[0] == "extends":
            raise SuiteError(f"--set {assignment}: a model that is evaluated by itself extends no suite")
    return suite_of(source, Path(model))


def _exported(load: str) -> Exported | None:
    try:
        return exported(absolute(load))
    except RobustStackError:  # No such home folder: that is said where the file is looked for.
        return None


def _refuse_place(name: str) -> None:
    """Refuse a file or folder in place of the name of the dataset that reads it."""
    place = Path(name)
    reader = "npz" if place.suffix == ".npz" else "folder" if "/" in name and place.is_dir() else None
    if reader:
        raise SuiteError(f'--dataset {name}: that is a place; write --dataset "{reader} path={name}"')


def point_of(text: str) -> dict[str, Any]:
    """`lambda_n=0.2 lambda_th=0.5` -> the knobs of one operating point.

    Raises:
        SuiteError: it is not written so.
    """
    return _values(_words(text), f"--point {text}")


def _written(point: str | Point) -> str:
    """A point as the command line takes it, with every digit of its numbers."""
    return point if isinstance(point, str) else " ".join(f"{knob}={value!r}" for knob, value in point.items())


def listed_points(points: str | Sequence[str] | Points | None) -> list[str | Point]:
    """The points that were given: texts as they are, and each point of a mapping.

    Raises:
        RobustStackError: they are neither.
    """
    given: Iterable[str | Point] | None = [points] if isinstance(points, (str, Mapping)) else points
    if not isinstance(given, Iterable | None):
        raise SuiteError(f"points: {given!r}; valid: ['lambda_n=0.2'], {{'lambda_n': [0, 0.2, 1]}}")
    listed: list[str | Point] = []
    for point in given or ():
        listed += [point] if isinstance(point, str) or point == {} else expanded_points([point])
    return listed


def listed_attacks(option: str, attacks: Attacks) -> list[Attack]:
    """The attacks that were given, each as it was.

    Raises:
        SuiteError: they are no list, nor one attack.
    """
    if isinstance(attacks, (str, Mapping)):
        return [attacks]
    if not isinstance(attacks, Iterable):
        raise SuiteError(f"{option} {attacks!r}: {ATTACK_FORMS}")
    return list(attacks)


def attack_of(option: str, attack: Attack) -> dict[str, Any]:
    """An attack as a suite has it.

    Raises:
        SuiteError: it is neither text nor a mapping; `option` is where.
    """
    if isinstance(attack, str):
        return component_of(option, attack)
    if not isinstance(attack, Mapping):
        raise SuiteError(f"{option} {attack!r}: {ATTACK_FORMS}")
    return dict(attack)


def component_of(option: str, text: str) -> dict[str, Any]:
    """`pgd steps=50` -> its `name` and `options`.

    Raises:
        SuiteError: it is not written so; `option` is where.
    """
    name, *options = _words(text) or [""]
    if not re.fullmatch(r"[^\s=]+", name):
        raise SuiteError(f'{option} {text}: write a name and its options, for example {option} "NAME KEY=VALUE"')
    return {"name": name, "options": _values(options, f"{option} {text}")}


def _values(words: Sequence[str], mark: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in words:
        key, sign, written = word.partition("=")
        if not sign:
            raise SuiteError(f"{mark}: write KEY=VALUE, several of them with spaces between")
        if key in values:
            raise SuiteError(f"{mark}: key {key!r} is written twice")
        values[key] = value_of(written, mark)
    return values


def _words(text: str) -> list[str]:
    # Only before KEY=, so that a value may hold spaces: `lambdas=[0, 1]`.
    return re.split(r"\s+(?=\w+=)", text.strip()) if text.strip() else []
