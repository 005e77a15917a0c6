"""Memory that is kept, that runs out, and that is given back."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # Parameters of glibc's mallopt.


def keep_memory() -> None:
    """Let this process keep the memory it frees, for its next batch.

    By default glibc gives blocks the size of activations back to the system at once, which hands them out again page by
    page, zeroed: a tenth of the time of an attack on a small network. Other C libraries have no such call.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20)):
            library.mallopt(parameter, value)


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, or numpy, had no memory left. Libraries below torch say so by errors of their own."""
    texts = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(one in str(error) for one in texts)
    )


def release() -> None:
    """Give back the memory of tensors that nothing uses any more."""
    gc.collect()
    torch.cuda.empty_cache()
