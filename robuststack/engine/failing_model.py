"""Where a user's model fails, if it fails in the middle of a job."""

from __future__ import annotations

import traceback

from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import _engine_run_backward

from robuststack.engine.fitted import FittedForward
from robuststack.layers.condition import View
from robuststack.plugin.failing import innermost, of_library

ENTRIES = {FittedForward.__call__.__code__, View.forward.__code__, BackwardCFunction.apply.__code__}
"""Through which the engine and autograd call a model's own code; one that needs nothing has no `FittedForward`."""


def place_in_model(error: BaseException) -> str | None:
    """Where a model's own code failed, as `file.py, line 3`: in its forward pass, or in a backward pass or a hook of
    gradients that it defines. None if other code failed."""
    frames = list(traceback.walk_tb(error.__traceback__))
    codes = [frame.f_code for frame, _ in frames]
    entered = next((place for place, code in enumerate(codes) if code in ENTRIES), None)
    if entered is not None:
        return innermost(frames[entered + 1 :] or frames[-1:])
    # Autograd calls a hook by itself.
    if _engine_run_backward.__code__ not in codes:
        return None
    called = frames[codes.index(_engine_run_backward.__code__) + 1 :]
    return None if all(of_library(frame) for frame, _ in called) else innermost(called)
