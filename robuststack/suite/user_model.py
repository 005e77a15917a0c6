"""A finished model that the user brings: what a suite says of it, what jobs know it by, and how its module is imported."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from robuststack.errors import ModelError, RobustStackError
from robuststack.paths import absolute
from robuststack.plan.source_digest import has_source, source_digest
from robuststack.suite.parts import ModelSource
from robuststack.suite.weight_files import file_fingerprint


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
        places = {"load": str(absolute(self.source.load.file))}
        return {"fingerprint": self.fingerprint, **key, **stochastic, "places": places}

    def as_written(self) -> dict[str, Any]:
        """As rows print it, with the place as the suite writes it."""
        return {**self.resolved(), **({"places": {"load": self.source.load.file}} if self.source.load else {})}


def find_user_model(source: ModelSource) -> UserModel:
    """Find the file or the function's module, without importing it. A module is looked for in the working directory first.

    Raises:
        ModelError: there is none.
    """
    if source.python is not None:
        module = source.python.partition(":")[0]
        return UserModel(source, f"source:{_source_of(module)}")
    try:
        path = absolute(source.text)
    except RobustStackError as error:  # No such home folder.
        raise ModelError(str(error)) from None
    return UserModel(source, file_fingerprint(path, source.text))


def _source_of(module: str) -> str:
    package = module.partition(".")[0]
    folder = _folder_of(module)
    meant = f"; write {module.removesuffix('.py')}, without .py" if module.endswith(".py") else ""
    # The script that runs would be another module, run once more, where a job imports it.
    if package == "__main__" or (folder is None and importlib.util.find_spec(package) is None):
        raise ModelError(f"no module {package!r} in {Path.cwd()} or among the installed packages{meant}")
    if not has_source(module, folder):
        raise ModelError(f"package {package!r} has no module {module!r} with Python source{meant}")
    return source_digest([module], folder=folder)


def _folder_of(module: str) -> Path | None:
    """The folder beside which a module lies: the working directory, or the one that it was when `user_modules` began; None
    for an installed one."""
    path = Path(*module.split("."))
    for folder in (Path.cwd(), *(Path(entry) for entry in sys.path if isinstance(entry, _Entry))):
        if (folder / path).with_name(f"{path.name}.py").is_file() or (folder / path / "__init__.py").is_file():
            return folder
    return None


class _Entry(str):
    """What `user_modules` puts into `sys.path`."""


@contextmanager
def user_modules() -> Iterator[None]:
    """Modules in the working directory can be imported, before all others of their names, as with `python -m`. `sys.path`
    is afterwards as it was, and what is imported stays. It may be entered again inside, elsewhere."""
    entry = _Entry(Path.cwd())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        for index, path in enumerate(sys.path):
            if path is entry:  # The user's module may have put its own before it.
                del sys.path[index]
                break


@contextmanager
def imported(module: str) -> Iterator[ModuleType]:
    """A user's module, and what it imports, from the folder in which `find_user_model` finds it. If a package of its name
    was imported from elsewhere, that one steps aside meanwhile, and the user's is forgotten afterwards."""
    package, folder = module.partition(".")[0], _folder_of(module)
    aside: dict[str, ModuleType] = {}
    if folder is not None and not _is_in(sys.modules.get(package), folder):
        aside = {name: sys.modules.pop(name) for name in _modules_of(package)}
    with user_modules():
        if folder is not None and package not in sys.modules and not _is_regular(package, folder):
            # A folder without __init__.py, which Python would take only if nothing of its name was installed.
            spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
            spec.submodule_search_locations = [str(folder / package)]
            sys.modules[package] = importlib.util.module_from_spec(spec)
        try:
            importlib.invalidate_caches()
            yield importlib.import_module(module)
        finally:
            if aside:
                for name in _modules_of(package):
                    del sys.modules[name]
                sys.modules.update(aside)


def _modules_of(package: str) -> list[str]:
    return [name for name in sys.modules if name == package or name.startswith(f"{package}.")]


def _is_regular(package: str, folder: Path) -> bool:
    return (folder / f"{package}.py").is_file() or (folder / package / "__init__.py").is_file()


def _is_in(module: ModuleType | None, folder: Path) -> bool:
    """Whether a top-level module or package, if it was imported at all, lies in a folder."""
    if module is None:
        return True
    file = getattr(module, "__file__", None)
    places = [Path(file).parent.parent if Path(file).name == "__init__.py" else Path(file).parent] if file else [
        Path(place).parent for place in getattr(module, "__path__", ())
    ]  # fmt: skip
    return any(os.path.realpath(place) == os.path.realpath(folder) for place in places)
