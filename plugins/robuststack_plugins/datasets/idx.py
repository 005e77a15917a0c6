"""Files of MNIST's format, idx: a header that says the type and the lengths of the sides, then the bytes; often gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BYTES = 8
"""The code of unsigned bytes in the header."""


def read_known(path: Path, sha256: str) -> np.ndarray:
    """The array of bytes in an idx file, gzipped if its name ends in `.gz`; what is unpacked has this hash.

    Raises:
        ValueError: as the end of "the file ...", if it cannot be read, is cut short, or is another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from None
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"does not unpack ({type(error).__name__}: {error})") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"is another file: {len(content)} bytes, sha256:{digest}, not sha256:{sha256}")
    return parsed(content)


def parsed(content: bytes) -> np.ndarray:
    """The array of bytes in the content of an idx file.

    Raises:
        ValueError: as the end of "the file ...", if the content is of another type or length than its header says.
    """
    import numpy as np

    sides = content[3] if len(content) > 3 else 0
    start = 4 + 4 * sides
    if content[:2] != b"\0\0" or len(content) < start or content[2] != BYTES:
        raise ValueError("is no idx file of bytes")
    shape = [int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4)]
    if len(content) != start + math.prod(shape):
        raise ValueError(f"has {len(content) - start} values, and its header says {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
