"""Float32 that is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

PRODUCTS = {
    "cpu": ("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
    "cuda": ("cudnn", "cuda.matmul", "cudnn.conv", "cudnn.rnn"),
}
"""Where `torch.backends` holds the precision of a device's float32 products since torch 2.9; operations inherit it from
their library."""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No autocast around, and no rounding of a float32 product's operands: CUDA's convolutions would round to TF32, ten
    bits, unless told not to, and other products do where a program has lowered torch's precision for them."""
    cudnn = torch.backends.cudnn
    with ExitStack() as settings:
        settings.enter_context(torch.autocast(device.type, enabled=False))
        before = [(place, place.fp32_precision) for place in _places(device)]
        settings.callback(_put_back, before)
        # Torch refuses its former settings to a program that has used the newer ones, which follow.
        with suppress(RuntimeError):
            if (products := torch.get_float32_matmul_precision()) != "highest":
                settings.callback(torch.set_float32_matmul_precision, products)
                torch.set_float32_matmul_precision("highest")
        with suppress(RuntimeError):
            if device.type == "cuda" and cudnn.allow_tf32:
                settings.callback(setattr, cudnn, "allow_tf32", True)
                cudnn.allow_tf32 = False
        for place, _ in before:
            if place.fp32_precision not in ("ieee", "none"):
                place.fp32_precision = "ieee"
        yield


def _places(device: torch.device) -> list[Any]:
    backends: Any = torch.backends
    places = []
    for name in PRODUCTS.get(device.type, ()):
        library, _, operation = name.partition(".")
        place = getattr(backends, library)
        places.append(getattr(place, operation, None) if operation else place)
    return [place for place in places if hasattr(place, "fp32_precision")]


def _put_back(before: list[tuple[Any, str]]) -> None:
    for place, precision in before:
        if place.fp32_precision != precision:
            place.fp32_precision = "none"  # What it inherited it inherits again.
            if place.fp32_precision != precision:
                place.fp32_precision = precision
