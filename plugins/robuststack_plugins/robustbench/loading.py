"""Fetches checkpoints of RobustBench's zoo, and loads them without running code from them."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import robuststack as rs
from robuststack.errors import ModelError

INSTALL = "python -m pip install 'robuststack[robustbench]'"


class Unusable(Exception):
    """Why a file is no checkpoint."""


def load(model: str, dataset: str, threat: str, folder: Path, files: Mapping[Path, str]) -> nn.Module:
    """The zoo's model in eval mode. `files` are its checkpoints, in the zoo's layout of `folder`, and their addresses.

    Raises:
        PluginError: the library cannot be imported.
        ModelError: with the file, what is wrong with it, and what to do.
    """
    zoo = _zoo()
    for path, url in files.items():
        if not path.is_file():
            _fetch(url, path)
    with _weights_only(files):
        try:
            return zoo.load_model(model, folder, dataset, threat)  # type: ignore[no-any-return]
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            path, url = next(iter(files.items()))
            raise _unusable(path, url, f"it does not fit {model}: {type(error).__name__}: {str(error)[:300]}") from None


def _zoo() -> Any:
    with warnings.catch_warnings(), importable_autoattack():
        warnings.simplefilter("ignore")  # It imports pkg_resources, which warns of its own end.
        try:
            import robustbench.utils
        except ImportError as error:
            raise rs.PluginError(f"the robustbench library cannot be imported ({error}): {INSTALL}") from error
    return robustbench.utils


@contextmanager
def importable_autoattack() -> Iterator[None]:
    """Let `import autoattack` find `pyautoattack`, its name on the index, where nothing else has that name.

    robustbench 1.1.1 imports it so; the copy that torchattacks 3.5.1 lays over it, where that is installed later, does not.
    """
    if "autoattack" in sys.modules or importlib.util.find_spec("autoattack") is not None:
        yield
        return
    names = ("", ".state")
    for name in names:
        sys.modules[f"autoattack{name}"] = importlib.import_module(f"pyautoattack{name}")
    try:
        yield
    finally:
        for name in names:
            del sys.modules[f"autoattack{name}"]


def _fetch(url: str, path: Path) -> None:
    """Download to a folder beside, and move the file to its place when it proved to be a checkpoint."""
    import gdown
    from gdown.exceptions import FileURLRetrievalError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder, path.name)
            gdown.download(url, str(part), quiet=True, use_cookies=False)
            _read(part)
            part.replace(path)
    except (OSError, FileURLRetrievalError, Unusable) as error:
        raise ModelError(
            f"{path} is not there and could not be downloaded from {url}: {type(error).__name__}: {error};"
            " put the file there and run again"
        ) from None


@contextmanager
def _weights_only(files: Mapping[Path, str]) -> Iterator[None]:
    """For the zoo's own calls of `torch.load`: only tensors and plain containers are read, no code is run."""
    original = torch.load

    def guarded(path: Path, **options: Any) -> Any:
        try:
            return _read(Path(path), original)
        except Unusable as error:
            raise _unusable(path, files[Path(path)], str(error)) from None

    torch.load = guarded  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = original


def _read(path: Path, read: Any = torch.load) -> Any:
    with path.open("rb") as file:
        if file.read(256).lstrip().startswith(b"<"):
            raise Unusable("it is a web page; Google Drive answers so when it refuses a download")
    try:
        return read(path, map_location="cpu", weights_only=True)
    # A file that is no checkpoint can end in any error.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
            raise Unusable("it holds more than weights, and reading that would run code from it") from None
        raise Unusable(f"it is damaged or cut off ({type(error).__name__}: {str(error)[:160]})") from None


def _unusable(path: Path, url: str, reason: str) -> ModelError:
    return ModelError(f"{path} cannot be used: {reason}; delete it to download it again from {url}")
