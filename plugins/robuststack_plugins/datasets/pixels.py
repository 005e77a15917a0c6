"""Image files decoded to 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def decoded(source: Path | IO[bytes], channels: int) -> Image:
    """An image file, upright, as grayscale (`channels` 1) or RGB (3); transparency is dropped. Of several frames, as a
    GIF has, it is the first.

    Raises:
        ValueError: with the reason, where the file does not decode or holds more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as image:
            # Conversion from 16 bits cuts off what is above 255 instead of scaling it.
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError(f"it has pixels of mode {image.mode}; valid: 8 bits a channel")
            # Cameras store pixels as the sensor has them, and how to turn them beside (EXIF).
            return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"it does not decode ({type(error).__name__}: {error})") from None
