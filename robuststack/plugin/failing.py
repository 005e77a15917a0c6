"""Where a plugin's component fails, in words for its author."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from robuststack.plugin.component import Component

HOST = "robuststack"
"""The host's package, and the distribution that brings the built-in components."""
LIBRARIES = (HOST, "torch", "numpy", "pydantic")
"""What a plugin's author did not write."""
STANDARD = f"{Path(traceback.__file__).parent}{os.sep}"
"""Where Python's own library is; other packages may be installed in a folder of it."""


def plugin_failure(error: BaseException) -> str | None:
    """The component of a plugin whose own code failed, with the error and its line, or the method that it lacks; None if
    other code failed, such as that of a built-in component."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for place, (frame, _) in enumerate(frames):
        component = frame.f_locals.get("self")
        of_host = frame.f_globals.get("__name__", "").partition(".")[0] == HOST
        if isinstance(component, Component) and component.distribution != HOST and not of_host:
            return f"{component.kind} {component.name!r} fails: {told(error, innermost(frames[place:]))}"
    last = frames[-1][0] if isinstance(error, NotImplementedError) else None
    component = last.f_locals.get("self") if last else None
    if last is None or not isinstance(component, Component) or component.distribution == HOST:
        return None
    return f"{component.kind} {component.name!r} fails: it has no method `{last.f_code.co_name}`"


def told(error: BaseException, place: str) -> str:
    """An error in one line, with its place."""
    return f"{' '.join(f'{type(error).__name__}: {error}'.split())} ({place})"


def innermost(frames: Sequence[tuple[FrameType, int]]) -> str:
    """The last place that no library holds, or the last of all, as `file.py, line 3`."""
    theirs = [(frame, line) for frame, line in frames if not of_library(frame)]
    frame, line = (theirs or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}"


def of_library(frame: FrameType) -> bool:
    """Whether the frame is of code that no author of a plugin or a model wrote."""
    libraries = tuple(
        f"{Path(str(module.__file__)).parent}{os.sep}" for name in LIBRARIES if (module := sys.modules.get(name))
    )
    file = frame.f_code.co_filename
    return file.startswith(libraries) or (file.startswith(STANDARD) and "-packages" not in file)
