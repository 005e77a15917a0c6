"""What defenses with learned weight noise do alike with its scales, alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float, alpha_weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: everything else, and the alphas with a weight decay of their own."""
    from robuststack.layers.noise import noisy_layers

    alphas = [layer.alpha for _, layer in noisy_layers(model)]
    known = {id(alpha) for alpha in alphas}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": others, "weight_decay": weight_decay}, {"params": alphas, "weight_decay": alpha_weight_decay}]


def inspect(model: nn.Module) -> dict[str, dict[str, float]]:
    """`alpha`: layer -> mean |alpha|, as `Defense.inspect` returns it."""
    from robuststack.layers.noise import noise_scales

    return {"alpha": noise_scales(model)}
