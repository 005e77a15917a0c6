"""The id of a job: a hash of its specification."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ENGINE_REVISION = 2
"""Raised when a change of the engine changes what results mean, as a component's `revision` is; a part of every job id.
Other rounding, or other random numbers of the same distribution, does not count: processors differ by as much."""


def job_id(kind: str, spec: Mapping[str, Any]) -> str:
    """The id of a job: a hash of its resolved specification, the same on every machine."""
    text = json.dumps([ENGINE_REVISION, _placeless(spec)], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _placeless(spec: Any) -> Any:
    """The specification without where things lie on this machine."""
    if isinstance(spec, Mapping):
        return {key: _placeless(value) for key, value in spec.items() if key != "places"}
    return [_placeless(one) for one in spec] if isinstance(spec, list) else spec
