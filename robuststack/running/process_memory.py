"""How this process keeps the memory it frees. It holds for all of it, so only the command line and workers ask for it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # Parameters of glibc's mallopt.


def keep_memory() -> None:
    """Let this process keep the memory it frees, for its next batch.

    By default glibc gives blocks the size of activations back to the system at once, which hands them out again page by
    page, zeroed: a tenth of the time of an attack on a small network. Other C libraries have no such call. It cannot be
    undone: a library must not decide it for the program around.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20)):
            library.mallopt(parameter, value)
