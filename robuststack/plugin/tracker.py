"""Trackers: what installed plugins put beside a run that the user asked to follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robuststack.errors import PluginError
from robuststack.paths import absolute
from robuststack.plugin.registry import Registry
from robuststack.running.atomic_files import make_folder


@contextmanager
def tracked(registry: Registry, folder: str | Path | None) -> Iterator[None]:
    """The hooks of every tracker for the length of a run, if a folder is named; `run_finished` is called in any case.

    Raises:
        PluginError: no plugin tracks runs.
        StoreError: the folder cannot be made.
    """
    trackers = []
    if folder is not None:
        trackers = registry.hooks.hook.start_tracking(folder=absolute(folder))
        if not trackers:
            raise PluginError(
                "--track: no installed plugin tracks runs; python -m pip install 'robuststack[tracking]' adds TensorBoard"
            )
        make_folder(absolute(folder))
    for tracker in trackers:
        registry.hooks.register(tracker)
    try:
        yield
    finally:
        try:
            registry.hooks.hook.run_finished()
        finally:
            for tracker in trackers:
                registry.hooks.unregister(tracker)
