"""The files of a checkpoint: one, or an index of JSON and the parts that it names, as large models are published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from robuststack.errors import ModelError

LARGEST_HEADER = 2**40
"""In bytes. A safetensors file begins with the length of its header, which text read as a number is beyond."""


def is_safetensors(head: bytes) -> bool:
    """Eight bytes with the length of a JSON header, and that header; nine bytes tell."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LARGEST_HEADER


def weight_map(content: bytes) -> Mapping[str, str]:
    """The name of each tensor -> the file that it is in, of an index (`model.safetensors.index.json`, or
    `pytorch_model.bin.index.json`); empty if the content is something else."""
    if is_safetensors(content[:9]) or content.lstrip()[:1] != b"{":
        return {}
    try:
        named = json.loads(content)["weight_map"]
    except (ValueError, KeyError, TypeError):
        return {}
    whole = isinstance(named, dict) and all(isinstance(name, str) for name in named.values())
    return named if whole else {}


def part_files(index: Path, named: Mapping[str, str]) -> list[Path]:
    """The files that an index names, in the order of their names. They lie beside it.

    Raises:
        ModelError: a name is that of a file elsewhere.
    """
    names = sorted(set(named.values()))
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name:
            raise ModelError(f"{index} names the part {name!r}; parts lie in the folder of their index")
    return [index.with_name(name) for name in names]


def read(path: Path) -> list[bytes]:
    """The content of a checkpoint: of the file, then of its parts if it is an index.

    Raises:
        ModelError: one of them cannot be read.
    """
    content = _content(path, str(path))
    return [content, *(_content(part, _said(path, part)) for part in part_files(path, weight_map(content)))]


def fingerprint(contents: Sequence[bytes]) -> str:
    """What stands for a checkpoint that `read` has read: the same as `file_fingerprint`."""
    return _fingerprint([hashlib.sha256(content).digest() for content in contents])


def file_fingerprint(path: Path, shown: str) -> str:
    """The hash of a file, or that of the hashes of an index and of its parts, none of which is kept in memory. `shown` is
    what the user calls the file.

    Raises:
        ModelError: one of them cannot be read.
    """
    digest, named = _digest(path, shown)
    parts = part_files(path, named)
    return _fingerprint([digest, *(_digest(part, _said(shown, part))[0] for part in parts)])


def _fingerprint(digests: Sequence[bytes]) -> str:
    alone = len(digests) == 1
    return f"sha256:{digests[0].hex() if alone else hashlib.sha256(b''.join(digests)).hexdigest()}"


def _digest(path: Path, shown: str) -> tuple[bytes, Mapping[str, str]]:
    """The SHA-256 of a file, and what it names if it is an index."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
            could_be_index = head.lstrip()[:1] == b"{" and not is_safetensors(head)
            named = weight_map(head + file.read()) if could_be_index else {}
            file.seek(0)
            return hashlib.file_digest(file, "sha256").digest(), named
    except OSError as error:
        raise ModelError(f"{shown} cannot be read: {error.strerror or error}") from None


def _content(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{shown} cannot be read: {error.strerror or error}") from None


def _said(index: Path | str, part: Path) -> str:
    return f"{index}: its part {part.name}"
