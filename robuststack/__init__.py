"""RobustStack: a benchmark suite for adversarially robust image classifiers.

What users and plugin authors import. Everything is loaded on first use; none of it imports torch before it must.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from robuststack.api.audits import AuditResult, audit
    from robuststack.api.bundles import BundleFile, bundle, verify
    from robuststack.api.comparisons import compare
    from robuststack.api.result import Result
    from robuststack.api.runs import evaluate, run
    from robuststack.api.trained import Trained, load_model
    from robuststack.errors import DatasetError, PluginError, RobustStackError
    from robuststack.evidence.bundle.verification import Verification
    from robuststack.image_selection import stratified
    from robuststack.leaderboard.board import Board
    from robuststack.leaderboard.board_labels import Labels
    from robuststack.leaderboard.board_lookup import load_board, load_labels
    from robuststack.leaderboard.comparison import RowComparison
    from robuststack.leaderboard.difference import Difference
    from robuststack.leaderboard.rereading import with_reading
    from robuststack.leaderboard.row import Row
    from robuststack.plugin.architecture import Architecture
    from robuststack.plugin.attack import Attack, GradientAttack
    from robuststack.plugin.calibration import Calibration
    from robuststack.plugin.dataset import Augmentation, Dataset, Images, Split
    from robuststack.plugin.defense import Defense
    from robuststack.plugin.download import Download
    from robuststack.plugin.hookspecs import hookimpl
    from robuststack.plugin.operating_point import Point, Scoring, Setting
    from robuststack.plugin.options import Draws, Number, Options, PixelLength, option
    from robuststack.plugin.phase import Phase
    from robuststack.plugin.threat import Threat
    from robuststack.plugin.training_step import TrainStep
    from robuststack.running.executors.ray_options import RayOptions
    from robuststack.suite.loading import load_suite
    from robuststack.suite.recipe import PhaseRecipe

_EXPORTS = {
    "robuststack.api.audits": ["AuditResult", "audit"],
    "robuststack.api.bundles": ["BundleFile", "bundle", "verify"],
    "robuststack.api.comparisons": ["compare"],
    "robuststack.api.result": ["Result"],
    "robuststack.api.runs": ["evaluate", "run"],
    "robuststack.api.trained": ["Trained", "load_model"],
    "robuststack.errors": ["DatasetError", "PluginError", "RobustStackError"],
    "robuststack.evidence.bundle.verification": ["Verification"],
    "robuststack.image_selection": ["stratified"],
    "robuststack.leaderboard.board": ["Board"],
    "robuststack.leaderboard.board_labels": ["Labels"],
    "robuststack.leaderboard.board_lookup": ["load_board", "load_labels"],
    "robuststack.leaderboard.comparison": ["RowComparison"],
    "robuststack.leaderboard.difference": ["Difference"],
    "robuststack.leaderboard.rereading": ["with_reading"],
    "robuststack.leaderboard.row": ["Row"],
    "robuststack.plugin.architecture": ["Architecture"],
    "robuststack.plugin.attack": ["Attack", "GradientAttack"],
    "robuststack.plugin.calibration": ["Calibration"],
    "robuststack.plugin.dataset": ["Augmentation", "Dataset", "Images", "Split"],
    "robuststack.plugin.defense": ["Defense"],
    "robuststack.plugin.download": ["Download"],
    "robuststack.plugin.hookspecs": ["hookimpl"],
    "robuststack.plugin.operating_point": ["Point", "Scoring", "Setting"],
    "robuststack.plugin.options": ["Draws", "Number", "Options", "PixelLength", "option"],
    "robuststack.plugin.phase": ["Phase"],
    "robuststack.plugin.threat": ["Threat"],
    "robuststack.plugin.training_step": ["TrainStep"],
    "robuststack.running.executors.ray_options": ["RayOptions"],
    "robuststack.suite.loading": ["load_suite"],
    "robuststack.suite.recipe": ["PhaseRecipe"],
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "Architecture",
    "Attack",
    "AuditResult",
    "Augmentation",
    "Board",
    "BundleFile",
    "Calibration",
    "Dataset",
    "DatasetError",
    "Defense",
    "Difference",
    "Download",
    "Draws",
    "GradientAttack",
    "Images",
    "Labels",
    "Number",
    "Options",
    "Phase",
    "PhaseRecipe",
    "PixelLength",
    "PluginError",
    "Point",
    "RayOptions",
    "Result",
    "RobustStackError",
    "Row",
    "RowComparison",
    "Scoring",
    "Setting",
    "Split",
    "Threat",
    "TrainStep",
    "Trained",
    "Verification",
    "__version__",
    "audit",
    "bundle",
    "compare",
    "evaluate",
    "hookimpl",
    "load_board",
    "load_labels",
    "load_model",
    "load_suite",
    "option",
    "run",
    "stratified",
    "verify",
    "with_reading",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'robuststack' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
