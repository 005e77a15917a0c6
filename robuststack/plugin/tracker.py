"""Trackers: what installed plugins put beside a run that the user asked to follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robuststack.errors import PluginError
from robuststack.paths import absolute
from robuststack.plugin.registry import Registry
from robuststack.running.atomic_files import make_folder

TOOL = re.compile(r"([a-z][a-z0-9_]+)(?::(.*))?")
"""`wandb`, `wandb:PROJECT`; every other text is a folder."""


@contextmanager
def tracked(registry: Registry, track: str | Path | None) -> Iterator[None]:
    """The hooks of every tracker for the length of a run, if `track` is given: a folder, or a tool with the place where it
    writes. `run_finished` is called in any case.

    Raises:
        PluginError: no plugin tracks runs there.
        StoreError: the folder cannot be made.
    """
    trackers = [] if track is None else _trackers(registry, track)
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


def _trackers(registry: Registry, track: str | Path) -> list[object]:
    tool = TOOL.fullmatch(track) if isinstance(track, str) else None
    if tool:
        with_tool: list[object] = registry.hooks.hook.start_tracking_with(tool=tool[1], place=tool[2] or "")
        if with_tool:
            return with_tool
        if tool[2] is not None:
            raise PluginError(
                f"--track {track}: no installed plugin tracks runs with {tool[1]!r}; a folder is written ./{track}"
            )
    trackers: list[object] = registry.hooks.hook.start_tracking(folder=absolute(track))
    if not trackers:
        raise PluginError(
            "--track: no installed plugin tracks runs; python -m pip install 'robuststack[tracking]' adds TensorBoard"
        )
    make_folder(absolute(track))
    return trackers
