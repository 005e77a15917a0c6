"""Where a user's model, or a plugin's component, fails, if it fails in the middle of a job."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch
from torch.autograd.function import BackwardCFunction

import robuststack
from robuststack.engine.fitted import FittedForward
from robuststack.layers.condition import View
from robuststack.plugin.component import Component

ENTRIES = {FittedForward.__call__.__code__, View.forward.__code__, BackwardCFunction.apply.__code__}
"""Through which the engine and autograd call a model's own code; one that needs nothing has no `FittedForward`."""
BUILT_IN = ("robuststack", "robuststack_plugins")
LIBRARIES = tuple(f"{Path(str(library.__file__)).parent}{os.sep}" for library in (torch, robuststack))
STANDARD = f"{Path(traceback.__file__).parent}{os.sep}"
"""Where Python's own library is; other packages may be installed in a folder of it."""


def place_in_model(error: BaseException) -> str | None:
    """Where a model's own code failed, as `file.py, line 3`: in its forward pass, or in a backward pass that it defines.
    None if other code failed."""
    frames = list(traceback.walk_tb(error.__traceback__))
    entered = next((place for place, (frame, _) in enumerate(frames) if frame.f_code in ENTRIES), None)
    if entered is None:
        return None
    return _innermost(frames[entered + 1 :] or frames[-1:])


def failing_component(error: BaseException) -> tuple[Component, str] | None:
    """The component of a plugin whose own code failed, and where, as `file.py, line 3`; None if other code failed, such as
    that of a built-in component."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for place, (frame, _) in enumerate(frames):
        own = frame.f_locals.get("self")
        if isinstance(own, Component) and frame.f_globals.get("__name__", "").partition(".")[0] not in BUILT_IN:
            return own, _innermost(frames[place:])
    return None


def _innermost(frames: Sequence[tuple[FrameType, int]]) -> str:
    """The last place that no library holds, or the last of all."""
    theirs = [(frame, line) for frame, line in frames if not _of_library(frame.f_code.co_filename)]
    frame, line = (theirs or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}"


def _of_library(file: str) -> bool:
    return file.startswith(LIBRARIES) or (file.startswith(STANDARD) and "-packages" not in file)
