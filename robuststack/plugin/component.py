"""The base of the four kinds of component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from robuststack.paths import absolute
from robuststack.plugin.download import Download
from robuststack.plugin.options import Options, marked

AnyOptions = Options
"""The base of every options model, under a name that no component's own `Options` hides."""


class Component:
    """The base of the four kinds. Set by the registry: `name` (as registered) and `distribution` (who brought it)."""

    kind: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    paper: ClassVar[str] = ""
    """Where the method is from: authors, title, venue or arXiv number."""
    revision: ClassVar[int] = 1
    """Raised when a change of the code changes results; a part of every job id that uses the component."""

    name: str = ""
    distribution: str = ""

    def __init__(self, options: AnyOptions | None = None) -> None:
        self.options: Any = options if options is not None else self.Options()

    @property
    def fingerprint(self) -> str:
        """Identifies what the component reads from outside its options (data, weights): a declared constant or the hash
        of a file. It enters every job id that uses the component."""
        return ""

    def downloads(self) -> Sequence[Download]:
        """What the component would fetch; empty if it needs nothing from a network."""
        return ()

    def resolved(self) -> dict[str, Any]:
        """The component as jobs write it down. Its `places` are left out of their ids."""
        options = self.options.resolved()
        # From the root: a job may run in a process, or after a call of `os.chdir`, that is elsewhere.
        places = {key: _from_root(options.pop(key)) for key in marked(self.options, "place")}
        return {
            "name": self.name,
            "plugin": self.distribution,
            "revision": self.revision,
            "options": options,
            **({"places": places} if places else {}),
            **({"fingerprint": self.fingerprint} if self.fingerprint else {}),
        }

    @classmethod
    def summary(cls) -> str:
        """The first line of the class's docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


def _from_root(place: Any) -> Any:
    return str(absolute(place)) if place and isinstance(place, str) else place
