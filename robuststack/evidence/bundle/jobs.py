"""The jobs of a bundle, read as those of a store are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from robuststack.errors import BundleError, StoreError
from robuststack.evidence.bundle.archive import Archive
from robuststack.running.store import Store

RESULT = "result.json"


def member(job: str, file: str) -> str:
    """The member that holds a file of a job."""
    return f"jobs/{job}/{file}"


class BundledJobs(Store):
    """A store whose jobs lie in a bundle. Nothing is written and nothing unpacked.

    `places` are those of the bundle's author: a name below `data` stands for each, or nothing if there is no such folder.
    """

    def __init__(self, archive: Archive, data: Path | None = None) -> None:
        self.root = archive.path
        self._archive = archive
        self._data = data
        self._results: dict[str, dict[str, Any]] = {}

    def result(self, job: str) -> dict[str, Any]:
        if job not in self._results:
            name = member(job, RESULT)
            if name not in self._archive.members:
                raise StoreError(f"{self.root} has no job {job}")
            result = read_json(self._archive, name)
            if not isinstance(result, dict) or not isinstance(result.get("files"), dict):
                raise BundleError(f"{self.root}: {name} is no result of a job")
            self._results[job] = replaced(result, self._placed)
        return self._results[job]

    def read(self, job: str, name: str, result: Mapping[str, Any] | None = None) -> bytes:
        expected = (self.result(job) if result is None else result).get("files", {}).get(name)
        content = self._archive.read(member(job, name))
        if hashlib.sha256(content).hexdigest() != expected:
            raise StoreError(f"{self.root}: {member(job, name)} is not the file that the job wrote (its hash differs)")
        return content

    def has_file(self, job: str, name: str) -> bool:
        """Whether the bundle holds a file of a job."""
        return member(job, name) in self._archive.members

    def _placed(self, place: str) -> str:
        # Whatever the file says, it names nothing outside of the folder.
        name = _name(place)
        return str(self._data / name) if self._data and name else ""


def read_json(archive: Archive, name: str) -> Any:
    """A JSON member.

    Raises:
        BundleError: it is none.
    """
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{archive.path}: {name} is no JSON: {error}") from None


def named_places(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the names alone of where things lay on the author's machine: they enter no id, and concern nobody."""
    return dict(replaced(result, _name))


def _name(place: str) -> str:
    name = PurePath(place).name
    return "" if name == ".." else name


def replaced(data: Any, place: Callable[[str], str]) -> Any:
    """JSON data with every text under a key `places` made by `place` of what stood there."""
    if isinstance(data, dict):
        return {
            key: {
                option: place(value) if isinstance(value, str) and value else value for option, value in inner.items()
            }
            if key == "places" and isinstance(inner, dict)
            else replaced(inner, place)
            for key, inner in data.items()
        }
    return [replaced(value, place) for value in data] if isinstance(data, list) else data
