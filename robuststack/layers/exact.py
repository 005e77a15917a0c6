"""Float32 that is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """No autocast around, and no rounding of a float32 product's operands: CUDA's convolutions would round to TF32, ten
    bits, unless told not to, and other products do where a program has lowered torch's precision for them."""
    cudnn, places = torch.backends.cudnn, _places()
    with ExitStack() as settings:
        settings.enter_context(torch.autocast(device.type, enabled=False))
        settings.callback(_put_back, [(place, place.fp32_precision) for place in places])
        try:
            products, _ = torch.get_float32_matmul_precision(), cudnn.allow_tf32
        except RuntimeError:
            pass  # The program has used the newer settings, and torch refuses the former ones beside them.
        else:
            flags = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
            settings.enter_context(cudnn.flags(**flags, allow_tf32=False))  # type: ignore[no-untyped-call]
            torch.set_float32_matmul_precision("highest")
            settings.callback(torch.set_float32_matmul_precision, products)
        for place in places:
            if place.fp32_precision not in ("ieee", "none"):
                place.fp32_precision = "ieee"
        yield


def _places() -> tuple[Any, ...]:
    """Where torch since 2.9 holds the precision of float32 products, one for each library and operation."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return ()
    return (
        backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn,
        backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn,
    )  # fmt: skip


def _put_back(before: list[tuple[Any, str]]) -> None:
    for place, precision in before:
        if place.fp32_precision != precision:
            place.fp32_precision = precision
