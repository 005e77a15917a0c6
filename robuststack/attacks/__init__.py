"""The public toolkit for attack authors: the attacked model, balls, starts, losses, restarts, EOT and the one attack loop.

    from robuststack.attacks import Ball, ascend, mean_margin

Every name is loaded on first use, so that importing a plugin that names this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robuststack.attacks.ascent import ascend
    from robuststack.attacks.attacked_model import AttackedModel
    from robuststack.attacks.ball import Ball, project
    from robuststack.attacks.eot import log_mean_probability, loss_gradient, mean_logits, mean_margin
    from robuststack.attacks.losses import cross_entropy, dlr
    from robuststack.attacks.margins import judged_margin, margin, still_open
    from robuststack.attacks.mixture import Mixture, MixtureModel
    from robuststack.attacks.restarts import Run, worst
    from robuststack.attacks.seeding import seeded_from
    from robuststack.attacks.starts import Start, normal_start, surface_start, uniform_start, zero_start
    from robuststack.attacks.state import State
    from robuststack.plugin.attack import Average, Loss

_EXPORTS = {
    "robuststack.attacks.ascent": ["ascend"],
    "robuststack.attacks.attacked_model": ["AttackedModel"],
    "robuststack.attacks.ball": ["Ball", "project"],
    "robuststack.attacks.eot": ["log_mean_probability", "loss_gradient", "mean_logits", "mean_margin"],
    "robuststack.attacks.seeding": ["seeded_from"],
    "robuststack.attacks.losses": ["cross_entropy", "dlr"],
    "robuststack.attacks.margins": ["judged_margin", "margin", "still_open"],
    "robuststack.attacks.mixture": ["Mixture", "MixtureModel"],
    "robuststack.attacks.restarts": ["Run", "worst"],
    "robuststack.attacks.starts": ["Start", "normal_start", "surface_start", "uniform_start", "zero_start"],
    "robuststack.attacks.state": ["State"],
    "robuststack.plugin.attack": ["Average", "Loss"],
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "AttackedModel",
    "Average",
    "Ball",
    "Loss",
    "Mixture",
    "MixtureModel",
    "Run",
    "Start",
    "State",
    "ascend",
    "cross_entropy",
    "dlr",
    "judged_margin",
    "log_mean_probability",
    "loss_gradient",
    "margin",
    "mean_logits",
    "mean_margin",
    "normal_start",
    "project",
    "seeded_from",
    "still_open",
    "surface_start",
    "uniform_start",
    "worst",
    "zero_start",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'robuststack.attacks' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
