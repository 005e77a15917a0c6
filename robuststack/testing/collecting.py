"""Test classes for everything that a distribution registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robuststack.plugin.registry import Registry
from robuststack.testing.architecture import ArchitectureConformance
from robuststack.testing.attack import AttackConformance
from robuststack.testing.component import ComponentConformance
from robuststack.testing.dataset import DatasetConformance
from robuststack.testing.defense import DefenseConformance

KITS: tuple[type[ComponentConformance], ...] = (
    DefenseConformance,
    ArchitectureConformance,
    DatasetConformance,
    AttackConformance,
)


def conformance(
    distribution: str, options: Mapping[str, Mapping[str, Any]] | None = None, members: Mapping[str, str] | None = None
) -> dict[str, type[ComponentConformance]]:
    """A test class for each component of an installed distribution: `globals().update(conformance("my-plugins"))`.

    `options` are those to check a component with, by its name; `members` name one network or attack of a family.
    """
    kits = {kit.kind: kit for kit in KITS}
    classes: dict[str, type[ComponentConformance]] = {}
    for registration in Registry():
        if registration.distribution == distribution:
            name = (members or {}).get(registration.name, registration.name)
            title = f"Test_{registration.kind}_{re.sub(r'[^0-9A-Za-z]', '_', registration.name)}"
            facts = {
                "component": name,
                "options": (options or {}).get(registration.name, {}),
                "__doc__": f"{registration.kind} {name}.",
            }
            # A defense that only loads a finished model is asked how it registers and documents itself, no more.
            kit = kits[registration.kind] if getattr(registration.load(), "trains", True) else ComponentConformance
            classes[title] = type(title, (kit,), {"kind": registration.kind, **facts})
    if not classes:
        raise LookupError(f"no installed distribution {distribution!r} registers a component; is it installed?")
    return classes
