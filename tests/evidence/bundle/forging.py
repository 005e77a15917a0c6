"""Bundles that somebody has changed and made to look whole again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robuststack.evidence.bundle.archive import Archive, ArchiveWriter
from robuststack.evidence.bundle.jobs import RESULT, member


def contents(path: Path) -> dict[str, bytes]:
    """The members of a bundle."""
    archive = Archive.open(path)
    return {name: archive.read(name) for name in archive.members}


def write(path: Path, members: Mapping[str, bytes]) -> Path:
    """An archive of these members, whatever they are."""
    with path.open("wb") as file:
        archive = ArchiveWriter(file)
        for name in sorted(members):
            archive.add(name, members[name])
        archive.finish()
    return path


def forged(path: Path, members: Mapping[str, bytes]) -> Path:
    """A bundle of changed members with a manifest that fits them, and results that fit the files of their jobs: what
    somebody makes who wants no hash to tell."""
    changed = dict(members)
    for name in [name for name in changed if name.startswith("jobs/") and not name.endswith(RESULT)]:
        _, job, file = name.split("/")
        result = json.loads(changed[member(job, RESULT)])
        if isinstance(result, dict) and isinstance(result.get("files"), dict):
            result["files"][file] = hashlib.sha256(changed[name]).hexdigest()
            changed[member(job, RESULT)] = json.dumps(result).encode()
    manifest = json.loads(changed.pop("manifest.json"))
    manifest["members"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)} for name, content in changed.items()
    }
    return write(path, {**changed, "manifest.json": json.dumps(manifest).encode()})


def edited(content: bytes, change: Callable[[Any], object]) -> bytes:
    """JSON with something in it changed in place."""
    data = json.loads(content)
    change(data)
    return json.dumps(data).encode()
