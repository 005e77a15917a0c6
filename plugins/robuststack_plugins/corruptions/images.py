"""The corruptions: images float32 [N, C, H, W] in [0, 1], a severity from 1 to 5 and a generator -> images of that shape.

The constants are those of CIFAR-10-C (hendrycks/robustness, make_cifar_c.py). Results may leave [0, 1]; the caller clips.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)
"""Standard deviations."""
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Standard deviations of the kernel, in pixels."""
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
"""What is left of the differences from an image's mean."""
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
"""What is added to the brightest channel of each pixel."""
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
"""The side of the small image, as a share."""
JPEG = (80, 65, 58, 50, 40)
"""Qualities."""
REACH = 4
"""Standard deviations at which a blur kernel ends."""


def gaussian_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    return x + NOISE[severity - 1] * torch.empty_like(x).normal_(generator=generator)


def gaussian_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    sigma = BLUR[severity - 1]
    radius = int(REACH * sigma + 0.5)
    places = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    # The nearest pixel continues the image.
    wide = functional.pad(x, (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(wide, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def contrast(x: Tensor, severity: int, generator: Generator) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return mean + CONTRAST[severity - 1] * (x - mean)


def brightness(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Hue and saturation stay: all channels of a pixel grow in proportion, and a black pixel becomes gray."""
    value = x.amax(1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, x * (raised / value.clamp(min=1e-12)), raised.expand_as(x))


def pixelate(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Each side is shortened by averages over boxes, and stretched again."""

    def change(image: Image.Image) -> Image.Image:
        width, height = (max(1, int(side * PIXELATE[severity - 1])) for side in image.size)
        return image.resize((width, height), Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _through_pillow(x, change)


def jpeg(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Written as JPEG and read again."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=JPEG[severity - 1])
        return Image.open(file)

    return _through_pillow(x, change)


def _through_pillow(x: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Images changed one by one, in 8 bits. Those of neither one nor three channels are changed channel by channel."""
    parts = x if x.shape[1] in (1, 3) else x.flatten(0, 1)[:, None]
    changed = []
    for image in parts.cpu():
        values = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        seen = change(Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values))
        pixels = np.asarray(seen, dtype=np.float32).reshape(values.shape) / 255
        changed.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.stack(changed).reshape(x.shape).to(x)


CORRUPTIONS: Mapping[str, Callable[[Tensor, int, Generator], Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "gaussian_blur": gaussian_blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
    "jpeg": jpeg,
}
