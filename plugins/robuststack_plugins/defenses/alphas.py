"""What defenses with learned weight noise do alike with its scales, alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robuststack_plugins.defenses.decay import decayed_apart

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float, alpha_weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: everything else, and the alphas with a weight decay of their own."""
    from robuststack.layers.noise import noisy_layers

    return decayed_apart(model, weight_decay, [layer.alpha for _, layer in noisy_layers(model)], alpha_weight_decay)


def inspect(model: nn.Module) -> dict[str, dict[str, float]]:
    """`alpha`: layer -> mean |alpha|, as `Defense.inspect` returns it."""
    from robuststack.layers.noise import noise_scales

    return {"alpha": noise_scales(model)}
