"""Where jobs run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robuststack.hardware import Hardware
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store

if TYPE_CHECKING:
    from robuststack.running.executors.local import LocalExecutor
    from robuststack.running.executors.workers import WorkersExecutor


def executor(
    registry: Registry, store: Store, data_folder: Path, hardware: Hardware
) -> LocalExecutor | WorkersExecutor:
    """This process for one job at a time, processes of their own for several."""
    from robuststack.running.executors.local import LocalExecutor
    from robuststack.running.executors.workers import WorkersExecutor

    if hardware.workers == 1:
        return LocalExecutor(registry, store, data_folder, hardware)
    return WorkersExecutor(store.root, data_folder, hardware)
