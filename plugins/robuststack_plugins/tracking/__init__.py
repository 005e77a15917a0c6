"""Runs followed in TensorBoard: `robuststack run SUITE --track DIR`, with the extra `tracking` installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from robuststack import hookimpl


@hookimpl
def start_tracking(folder: Path) -> object | None:
    # Looked for, not imported: that takes seconds. Without it the host says how to get it.
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from robuststack_plugins.tracking.board import Board

    return Board(folder)
