"""What is counted of a model without training it: parameters and multiply-accumulates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from torch import nn

from robuststack.engine.build import fitting, network
from robuststack.engine.measure import blueprint, macs
from robuststack.layers.dual_norm import DualNorm
from robuststack.leaderboard.published_size import PublishedSize, Size, agreement
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry


def sizes(
    defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int
) -> dict[str, int]:
    """`parameters`, `macs` of an image and, where they differ from the first, `nonzero_parameters`, at the defense's
    reference point.

    Raises:
        PluginError: the architecture cannot take such images.
    """
    model, setting = blueprint(defense, architecture, shape, num_classes), defense.reference_setting()
    with fitting(architecture, shape):
        counts = {
            "parameters": defense.parameters(model, setting),
            "macs": macs(defense.view(model, setting), shape),
        }
    try:
        nonzero = defense.nonzero_parameters(model, setting)
    except RuntimeError:
        # Masks have to be drawn before their zeros can be counted.
        nonzero = defense.nonzero_parameters(network(defense, architecture, shape, num_classes), setting)
    return counts if nonzero == counts["parameters"] else {**counts, "nonzero_parameters": nonzero}


def comparison(registry: Registry, figure: PublishedSize) -> list[dict[str, Any]]:
    """For each convention that the printed figure may follow: what is counted, and whether it gives the figure."""
    rows = []
    for convention, wanted in figure.conventions.items():
        parts = wanted if isinstance(wanted, tuple) else (wanted,)
        counts = [_count(registry, part) for part in parts]
        value = Decimal(counts[0]) / (counts[1] if len(counts) > 1 else figure.scale)
        counted = counts[0] if len(counts) == 1 else round(float(value), 4)
        rows.append({"convention": convention, "counted": counted, "agrees": agreement(figure.printed, value)})
    return rows


def _count(registry: Registry, wanted: Size) -> int:
    defense: Defense = registry.create("defense", wanted.defense, wanted.options)
    architecture: Architecture = registry.create("architecture", wanted.architecture)
    model, setting = blueprint(defense, architecture, wanted.shape, wanted.num_classes), defense.reference_setting()
    if wanted.quantity == "macs":
        return macs(defense.view(model, setting), wanted.shape)
    extra = _further_branches(model) if wanted.branches == "first" else 0
    return defense.parameters(model, setting) - extra


def _further_branches(model: nn.Module) -> int:
    norms = [module for module in model.modules() if isinstance(module, DualNorm)]
    return sum(
        parameter.numel() for norm in norms for branch in list(norm.branches)[1:] for parameter in branch.parameters()
    )
