"""From what a job wrote down of a component back to the component."""

from __future__ import annotations

from typing import Any

from robuststack.plan.specs import ComponentSpec, ModelSpec
from robuststack.plugin.component import Component
from robuststack.plugin.registry import Registry
from robuststack.suite.smoke import StandIn


def component(registry: Registry, kind: str, spec: ComponentSpec) -> Any:
    """The component that a job wrote down.

    Raises:
        PluginError: it is not installed, or has other options by now.
    """
    created = registry.create(kind, spec.name, {**spec.options, **spec.places})
    return StandIn(created, spec.stand_in) if spec.stand_in else created


def model_components(registry: Registry, model: ModelSpec) -> list[Component]:
    """What the digest of a job holds of a model that no job here trains: dataset, defense and network."""
    network = [component(registry, "architecture", model.architecture)] if model.architecture else []
    return [component(registry, "dataset", model.dataset), component(registry, "defense", model.defense), *network]
