"""The JSON schema of suite files, with what the installed plugins register."""

from __future__ import annotations

import copy
import re
from typing import Any

from robuststack.errors import PluginError
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.suite.suite import Suite

# Which part of a suite names components of which kind.
PARTS = {"datasets": ("dataset", "DatasetPart"), "architectures": ("architecture", "Part"),
         "defenses": ("defense", "DefensePart"), "attacks": ("attack", "AttackPart")}  # fmt: skip


def suite_schema(registry: Registry) -> dict[str, Any]:
    """JSON schema (draft 2020-12): the suite's keys, and under each part the registered names with their options."""
    schema = Suite.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for key, (kind, definition) in PARTS.items():
        part = f"{kind.capitalize()}Entry"
        definitions[part] = _entry(copy.deepcopy(definitions[definition]), kind, registry)
        names = _names(kind, registry)
        entry = {"anyOf": [{"type": "string", **names}, {"$ref": f"#/$defs/{part}"}]}
        described = {
            name: schema["properties"][key][name]
            for name in ("title", "description")
            if name in schema["properties"][key]
        }
        schema["properties"][key] = {
            **described,
            "anyOf": [*entry["anyOf"], {"type": "array", "items": entry, "minItems": 1}],
        }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "RobustStack suite"
    # The file's own requirements, whatever a base file adds.
    schema.pop("required", None)
    return schema


def _names(kind: str, registry: Registry) -> dict[str, Any]:
    plain = [
        registration.name for registration in registry if registration.kind == kind and registration.pattern is None
    ]
    families = [registration.pattern for registration in registry if registration.kind == kind and registration.pattern]
    return {"anyOf": [{"enum": plain}, *({"pattern": f"^(?:{_portable(pattern)})$"} for pattern in families)]}


def _portable(pattern: str) -> str:
    """Plain groups for named ones, which Python and ECMA 262 write differently."""
    return re.sub(r"\(\?P<\w+>", "(", pattern)


def _entry(part: dict[str, Any], kind: str, registry: Registry) -> dict[str, Any]:
    part["properties"]["name"] = {**part["properties"]["name"], **_names(kind, registry)}
    conditions = []
    for registration in registry:
        if registration.kind != kind or registration.pattern:
            continue
        try:
            cls = registration.load()
        except PluginError:
            continue  # `doctor` says so; completion for the others goes on.
        options = _inlined(cls.Options.model_json_schema(by_alias=True))
        then: dict[str, Any] = {"options": {**options, "required": []}}
        if issubclass(cls, Defense):
            knobs = _inlined(cls.Knobs.model_json_schema(by_alias=True))["properties"] if cls.Knobs.model_fields else {}
            either = {name: {"anyOf": [knob, {"type": "array", "items": knob}]} for name, knob in knobs.items()}
            grid = {"type": "object", "properties": either, "additionalProperties": False}
            then["points"] = {"anyOf": [grid, {"type": "array", "items": grid}]}
        conditions.append({"if": {"properties": {"name": {"const": registration.name}}}, "then": {"properties": then}})
    return {**part, "allOf": conditions}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its own `$defs` put in place of the references, so that it can stand inside another."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rsplit("/", 1)[-1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(element) for element in node] if isinstance(node, list) else node

    return dict(resolve(schema))
