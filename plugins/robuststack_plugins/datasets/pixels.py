"""Image files decoded to 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

from robuststack.file_kind import HEAD, file_kind

if TYPE_CHECKING:
    from PIL.Image import Image


def decoded(source: Path | IO[bytes], channels: int) -> Image:
    """An image file, upright, as grayscale (`channels` 1) or RGB (3); transparency is dropped. Of several frames, as a
    GIF has, it is the first.

    Raises:
        ValueError: with the reason, where the file does not decode or holds more than 8 bits a channel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            # Conversion from 16 bits cuts off what is above 255 instead of scaling it, or drops half of the bits.
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError(f"it has pixels of mode {image.mode}; valid: 8 bits a channel")
            if _sixteen_bits(image):
                raise ValueError(f"it has pixels of mode {image.mode};16; valid: 8 bits a channel")
            # Cameras store pixels as the sensor has them, and how to turn them beside (EXIF).
            return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise ValueError(f"it is no image that can be read{_instead(source)}") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"it does not decode ({type(error).__name__}: {error})") from None


def _sixteen_bits(image: Image) -> bool:
    """Whether a file holds colours of 16 bits, of which the decoder would keep 8."""
    return any(";16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]


def _instead(source: Path | IO[bytes]) -> str:
    if not isinstance(source, Path):
        return ""
    with source.open("rb") as file:
        kind = file_kind(file.read(HEAD))
    return f": {kind}" if kind else ""
