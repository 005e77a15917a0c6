"""Arrays that take long to make, kept in a file that is used only when it is whole and right."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from robuststack_plugins.datasets.arrays import UNREADABLE

if TYPE_CHECKING:
    import numpy as np

HASH = "sha256"


def cached(path: Path, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of `make`, read from the .npz file at `path` where an earlier call with the same `key` left them.

    The file holds a hash of the key and of every array. One that is cut short, damaged or of another key is made again.
    """
    import numpy as np

    kept = _read(path, key)
    if kept is not None:
        return kept
    made = make()
    # A folder that cannot be written costs time at the next load, and nothing else.
    with contextlib.suppress(OSError), TemporaryDirectory(dir=path.parent, prefix=".cache-") as scratch:
        written = Path(scratch, path.name)
        with written.open("wb") as file:
            np.savez(file, **{HASH: np.array(_digest(key, made))}, **made)  # type: ignore[arg-type]
        os.replace(written, path)
    return made


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    import numpy as np

    if not zipfile.is_zipfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except UNREADABLE:
        return None
    recorded = arrays.pop(HASH, None)
    return arrays if str(recorded) == _digest(key, arrays) else None


def _digest(key: str, arrays: Mapping[str, np.ndarray]) -> str:
    import numpy as np

    digest = hashlib.sha256(key.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
