"""RobustStack: a benchmark suite for adversarially robust image classifiers.

What users and plugin authors import. Everything is loaded on first use; none of it imports torch before it must.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from robuststack.api import Result, Trained, evaluate, load_model, load_suite, run
    from robuststack.contracts import (
        Architecture,
        Attack,
        Augmentation,
        Dataset,
        Defense,
        Download,
        GradientAttack,
        Images,
        Point,
        Scoring,
        Setting,
        Split,
        Threat,
        TrainStep,
    )
    from robuststack.errors import DatasetError, PluginError, RobustStackError
    from robuststack.hookspecs import hookimpl
    from robuststack.options import Number, Options, PixelLength, option
    from robuststack.published_sizes import PublishedSize, Size

_EXPORTS = {
    "robuststack.api": ["Result", "Trained", "evaluate", "load_model", "load_suite", "run"],
    "robuststack.contracts": [
        "Architecture", "Attack", "Augmentation", "Dataset", "Defense", "Download", "GradientAttack", "Images",
        "Point", "Scoring", "Setting", "Split", "Threat", "TrainStep",
    ],
    "robuststack.errors": ["DatasetError", "PluginError", "RobustStackError"],
    "robuststack.hookspecs": ["hookimpl"],
    "robuststack.options": ["Number", "Options", "PixelLength", "option"],
    "robuststack.published_sizes": ["PublishedSize", "Size"],
}  # fmt: skip
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "Architecture",
    "Attack",
    "Augmentation",
    "Dataset",
    "DatasetError",
    "Defense",
    "Download",
    "GradientAttack",
    "Images",
    "Number",
    "Options",
    "PixelLength",
    "PluginError",
    "Point",
    "PublishedSize",
    "Result",
    "RobustStackError",
    "Scoring",
    "Setting",
    "Size",
    "Split",
    "Threat",
    "TrainStep",
    "Trained",
    "__version__",
    "evaluate",
    "hookimpl",
    "load_model",
    "load_suite",
    "option",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'robuststack' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
