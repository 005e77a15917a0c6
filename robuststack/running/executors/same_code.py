"""Whether a worker elsewhere has the same RobustStack, plugins and torch as the run that asks it to work."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from robuststack.plan.source_digest import module_meaning

UNIMPORTANT = ("cli", "leaderboard", "api", "testing", "plugin.templates")
"""Parts of RobustStack that compute no figure: they may differ."""


@dataclass(frozen=True)
class Code:
    """What is installed somewhere."""

    torch: str
    files: Mapping[str, str]
    """Module -> the hash of its file, of the packages that were asked for."""

    def differing(self, other: Code) -> list[str]:
        """The modules whose files differ, or that one of the two lacks."""
        return sorted(
            name for name in self.files.keys() | other.files.keys() if self.files.get(name) != other.files.get(name)
        )


def installed(packages: Iterable[str]) -> Code:
    """What is installed here of `packages`, top-level ones by name; nothing of them is imported."""
    files: dict[str, str] = {}
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        if not spec.submodule_search_locations:
            files[package] = _hash(Path(spec.origin)) if spec.origin else ""
        for place in spec.submodule_search_locations or ():
            for path in sorted(Path(place).rglob("*.py")):
                name = ".".join((package, *path.relative_to(place).with_suffix("").parts)).removesuffix(".__init__")
                if not _unimportant(name):
                    files[name] = _hash(path)
    return Code(torch_version(), files)


def difference(here: Code, there: Code, ask: Callable[[list[str]], Mapping[str, str]]) -> str:
    """What a worker has installed that is another than here, in words; empty if all figures will be the same. `ask` tells
    what modules mean there: a comment that is another is no difference.
    """
    if here.torch != there.torch:
        return f"its torch is {there.torch or 'absent'}, here it is {here.torch}"
    names = here.differing(there)
    for name in names:
        if name not in there.files:
            return f"it has no module {name}"
        if name not in here.files:
            return f"it has a module {name}, which is not here"
    ours, theirs = (meanings(names), ask(names)) if names else ({}, {})
    differing = [name for name in names if ours[name] != theirs[name]]
    return f"its module {differing[0]} is another than here" if differing else ""


def meanings(modules: Iterable[str]) -> dict[str, str]:
    """Module -> the hash of what its source means, without comments and docstrings; empty for one that is not here."""
    return {name: module_meaning(name) for name in modules}


def torch_version() -> str:
    """The version of the installed torch, without the kind of build: that for processors and that for cards go together."""
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return ""


def _unimportant(name: str) -> bool:
    inside = name.removeprefix("robuststack.")
    return inside != name and any(inside == part or inside.startswith(f"{part}.") for part in UNIMPORTANT)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
