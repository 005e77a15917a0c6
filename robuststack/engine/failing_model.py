"""Where a user's model fails, if it fails in the middle of a job."""

from __future__ import annotations

import traceback

from torch.autograd.function import BackwardCFunction

from robuststack.engine.fitted import FittedForward
from robuststack.layers.condition import View
from robuststack.plugin.failing import innermost

ENTRIES = {FittedForward.__call__.__code__, View.forward.__code__, BackwardCFunction.apply.__code__}
"""Through which the engine and autograd call a model's own code; one that needs nothing has no `FittedForward`."""


def place_in_model(error: BaseException) -> str | None:
    """Where a model's own code failed, as `file.py, line 3`: in its forward pass, or in a backward pass that it defines.
    None if other code failed."""
    frames = list(traceback.walk_tb(error.__traceback__))
    entered = next((place for place, (frame, _) in enumerate(frames) if frame.f_code in ENTRIES), None)
    if entered is None:
        return None
    return innermost(frames[entered + 1 :] or frames[-1:])
