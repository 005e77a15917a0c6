"""Where a user's model fails, if it fails in the middle of a job."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import torch
from torch.autograd.function import BackwardCFunction

import robuststack
from robuststack.engine.fitted import FittedForward
from robuststack.layers.condition import View

ENTRIES = {FittedForward.__call__.__code__, View.forward.__code__, BackwardCFunction.apply.__code__}
"""Through which the engine and autograd call a model's own code; one that needs nothing has no `FittedForward`."""
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
    theirs = [(frame, line) for frame, line in frames[entered + 1 :] if not _of_library(frame.f_code.co_filename)]
    frame, line = theirs[-1] if theirs else frames[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}"


def _of_library(file: str) -> bool:
    return file.startswith(LIBRARIES) or (file.startswith(STANDARD) and "-packages" not in file)
