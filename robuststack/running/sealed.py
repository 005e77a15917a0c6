"""Files that carry the hash of what they say: a flipped bit in a figure is as plain to see as a file cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"


def sealed_json(data: Mapping[str, Any]) -> bytes:
    """A mapping as a JSON file, with the hash of all else in it under `seal`."""
    # As it will be read: JSON turns every key into a text, which changes their order.
    plain = json.loads(json.dumps(data))
    return json.dumps({**plain, SEAL: _hash(plain)}, indent=1, sort_keys=True).encode()


def unsealed_json(file: bytes) -> dict[str, Any]:
    """What `sealed_json` was given. A mapping without a seal is taken as it stands.

    Raises:
        ValueError: it is no JSON, no mapping, or not what was sealed.
    """
    try:
        data = json.loads(file)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(data, dict):
        raise ValueError("it is not ours")
    seal = data.pop(SEAL, None)
    if seal is not None and seal != _hash(data):
        raise ValueError("its hash differs")
    return data


def _hash(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def sealed_file(head: Mapping[str, Any], content: bytes) -> bytes:
    """One file: the hash of all that follows, what is said of the content, and the content, the first two a line each."""
    body = json.dumps(head, sort_keys=True).encode() + b"\n" + content
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unsealed_file(file: bytes) -> tuple[dict[str, Any], bytes]:
    """What `sealed_file` put together.

    Raises:
        ValueError: it is not whole.
    """
    seal, _, body = file.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise ValueError("its hash differs")
    head, _, content = body.partition(b"\n")
    return json.loads(head), content
