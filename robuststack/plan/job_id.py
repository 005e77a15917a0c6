"""The id of a job: a hash of its specification."""

from __future__ import annotations

import hashlib
import json

from robuststack.plan.specs import Spec

ENGINE_REVISION = 3
"""Raised when a change of the engine changes what results mean, as a component's `revision` is; a part of every job id.
Other rounding, or other random numbers of the same distribution, does not count: processors differ by as much."""


def job_id(kind: str, spec: Spec) -> str:
    """The id of a job: a hash of its specification without its places, the same on every machine."""
    text = json.dumps([ENGINE_REVISION, spec.identity()], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
