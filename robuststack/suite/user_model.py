"""A finished model that the user brings: what a suite says of it, and what jobs know it by."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robuststack.errors import ModelError
from robuststack.plan.source_digest import has_source, source_digest
from robuststack.suite.parts import ModelSource


@dataclass(frozen=True)
class UserModel:
    """A file of weights or a function, with the hash of its content: a moved file is the same model."""

    source: ModelSource
    fingerprint: str

    @property
    def brings_network(self) -> bool:
        """A function returns a whole network; weights need the architecture that they are of."""
        return self.source.python is not None

    def resolved(self) -> dict[str, Any]:
        """As jobs write it down. Its `places` are left out of their ids."""
        stochastic = {"stochastic": True} if self.source.stochastic else {}
        if self.source.python is not None:
            return {"python": self.source.python, "fingerprint": self.fingerprint, **stochastic}
        assert self.source.load is not None
        key = {"key": self.source.load.key} if self.source.load.key else {}
        return {"fingerprint": self.fingerprint, **key, **stochastic, "places": {"load": self.source.load.file}}


def find_user_model(source: ModelSource) -> UserModel:
    """Find the file or the function's module, without importing it. A module is looked for in the working directory too.

    Raises:
        ModelError: there is none.
    """
    if source.python is not None:
        module = source.python.partition(":")[0]
        return UserModel(source, f"source:{_source_of(module)}")
    path = Path(source.text)
    try:
        with path.open("rb") as file:
            return UserModel(source, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def _source_of(module: str) -> str:
    package = module.partition(".")[0]
    if os.getcwd() not in sys.path:  # As `python -m` does: the console script's own folder is there instead.
        sys.path.append(os.getcwd())
    # The script that runs would be another module, run once more, where a job imports it.
    if package == "__main__" or importlib.util.find_spec(package) is None:
        raise ModelError(f"no module {package!r} in {os.getcwd()} or among the installed packages")
    if not has_source(module):
        raise ModelError(f"package {package!r} has no module {module!r} with Python source")
    return source_digest([module])
