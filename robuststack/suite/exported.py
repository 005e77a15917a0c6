"""What a file of weights that `robuststack export` wrote says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robuststack.errors import PluginError
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.component import Component
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.suite.weight_files import is_safetensors
from robuststack.wording import component_text

LONGEST_HEADER = 100_000_000
"""In bytes: what the format allows."""


@dataclass(frozen=True)
class Exported:
    """The model that the weights are of: names, and all options, as suites write them."""

    defense: Mapping[str, Any]
    architecture: Mapping[str, Any]
    frozen: bool
    """Whether one draw of its noise is in the weights."""
    seed: int
    """The training seed: a model may hold what was drawn when it was built and is in no weight."""

    def written(self, kind: Literal["defense", "architecture"], registry: Registry) -> dict[str, Any]:
        """A component as a suite would name it: without options that are at their defaults."""
        part: Mapping[str, Any] = getattr(self, kind)
        try:
            usual = registry.create(kind, part["name"]).options.resolved()
        except PluginError:  # It is not installed, which the suite's check says; or an option has no default.
            usual = {}
        options = {key: value for key, value in part["options"].items() if key not in usual or usual[key] != value}
        return {"name": part["name"], "options": options}


def exported(path: Path) -> Exported | None:
    """What the header of a safetensors file says; None if another program wrote the file, or if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            text = file.read(length) if length <= LONGEST_HEADER else b""
        if not is_safetensors(head + text[:1]):
            return None
        facts = json.loads(text)["__metadata__"]
        if "robuststack" not in facts:
            return None
        defense, architecture = (_part(json.loads(facts[kind])) for kind in ("defense", "architecture"))
        return Exported(defense, architecture, json.loads(facts["frozen"]) is not None, int(json.loads(facts["seed"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _part(said: Any) -> Mapping[str, Any]:
    if not isinstance(said["name"], str) or not isinstance(said["options"], dict):
        raise TypeError
    return {"name": said["name"], "options": said["options"]}


def unlike(path: Path, shown: str, defense: Defense) -> str:
    """Why the weights in a file, `shown` in messages, are not to be scored under a defense; empty if they may be.

    Under `none` any defense's weights may, if they fit: that is said of a plain network.
    """
    file = exported(path)
    if file is None:
        return ""
    if file.frozen:
        return (
            f"{shown} holds one draw of the model's noise, and {defense.name!r} would draw noise on top of it; export the"
            " model without --frozen, or as torch-export, and score what a function loads"
        )
    if defense.name == "none":
        return ""
    difference = _difference(file.defense, defense)
    return f"{shown} says that its model is one of {difference}" if difference else ""


def unlike_network(path: Path, shown: str, architecture: Architecture) -> str:
    """Why the weights in a file, `shown` in messages, are not those of a network; empty if they may be. Two networks that
    compute other things may have weights of the same shapes."""
    file = exported(path)
    difference = _difference(file.architecture, architecture) if file else ""
    return f"{shown} says that its weights are those of {difference}" if difference else ""


def _difference(said: Mapping[str, Any], component: Component) -> str:
    """What a file says and what was asked for, `'oat dim=4', not with 'oat dim=8'`; empty if they are alike."""
    if said["name"] != component.name:
        return f"{said['name']!r}, not of {component.name!r}"
    resolved, options = component.options.resolved(), said["options"]
    differ = {key: value for key, value in options.items() if key in resolved and resolved[key] != value}
    if not differ:
        return ""
    asked = component_text(component.name, {key: resolved[key] for key in differ})
    return f"{component_text(component.name, differ)!r}, not of {asked!r}"
