"""A finished model that the user brings: what a suite says of it, and what jobs know it by."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robuststack.errors import ModelError
from robuststack.plan.source_digest import has_source, source_digest
from robuststack.suite.parts import ModelSource


@dataclass(frozen=True)
class Given:
    """A file of weights or a function, with the hash of its content: a moved file is the same model."""

    source: ModelSource
    fingerprint: str

    @property
    def brings_network(self) -> bool:
        """A function returns a whole network; weights need the architecture that they are of."""
        return self.source.python is not None

    def resolved(self) -> dict[str, Any]:
        """As jobs write it down. Its `places` are left out of their ids."""
        if self.source.python is not None:
            return {"python": self.source.python, "fingerprint": self.fingerprint}
        return {"fingerprint": self.fingerprint, "places": {"load": self.source.load}}


@contextmanager
def importable_here() -> Iterator[None]:
    """Modules in the working directory can be imported until the block ends, as under `python -m`: the console script's own
    folder is on the path instead."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:  # A user's module may have taken it out.
            sys.path.remove(here)


def find_given(source: ModelSource) -> Given:
    """Find the file or the function's module, without importing it. A module is looked for in the working directory too.

    Raises:
        ModelError: there is none.
    """
    if source.python is not None:
        module = source.python.partition(":")[0]
        with importable_here():
            return Given(source, f"source:{_source_of(module)}")
    path = Path(source.load or "")
    try:
        with path.open("rb") as file:
            return Given(source, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def _source_of(module: str) -> str:
    package = module.partition(".")[0]
    # The script that runs would be another module, run once more, where a job imports it.
    if package == "__main__" or importlib.util.find_spec(package) is None:
        raise ModelError(f"no module {package!r} in {os.getcwd()} or among the installed packages")
    if not has_source(module):
        raise ModelError(f"package {package!r} has no module {module!r} with Python source")
    return source_digest([module])
