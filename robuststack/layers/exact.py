"""Float32 that is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """No autocast around, and no rounding of a float32 product's operands: CUDA's convolutions would round to TF32, ten
    bits, unless told not to, and matrix products do where a program has lowered torch's precision for them."""
    products = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    with ExitStack() as settings:
        settings.enter_context(torch.autocast(device.type, enabled=False))
        settings.enter_context(
            cudnn.flags(  # type: ignore[no-untyped-call]
                enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
            )
        )
        torch.set_float32_matmul_precision("highest")
        settings.callback(torch.set_float32_matmul_precision, products)
        yield
