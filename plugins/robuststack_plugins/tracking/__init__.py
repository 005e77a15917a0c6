"""Runs followed elsewhere: `run SUITE --track DIR` for TensorBoard, `--track wandb:PROJECT` for Weights & Biases and
`--track mlflow:PLACE` for MLflow, each with its extra installed (`tracking`, `wandb`, `mlflow`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from robuststack import PluginError, hookimpl


@hookimpl
def start_tracking(folder: Path) -> object | None:
    # Looked for, not imported: that takes seconds. Without it the host says how to get it.
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from robuststack_plugins.tracking.board import Board

    return Board(folder)


@hookimpl
def start_tracking_with(tool: str, place: str) -> object | None:
    if tool == "wandb":
        _require("wandb", tool)
        from robuststack_plugins.tracking.wandb_runs import WandbRuns

        return WandbRuns(place)
    if tool == "mlflow":
        _require("mlflow", tool)
        from robuststack_plugins.tracking.mlflow_runs import MlflowRuns

        return MlflowRuns(place)
    return None


def _require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise PluginError(
            f"--track {extra}: the package {package} is not installed; python -m pip install 'robuststack[{extra}]'"
        )
