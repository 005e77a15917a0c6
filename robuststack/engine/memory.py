"""Memory that runs out, and memory that is given back."""

from __future__ import annotations

import gc

import torch


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, or numpy, had no memory left. Libraries below torch say so by errors of their own."""
    texts = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def release() -> None:
    """Give back the memory of tensors that nothing uses any more."""
    gc.collect()
    torch.cuda.empty_cache()
