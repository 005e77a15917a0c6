"""Anything that holds numbers, as a plain array of NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robuststack.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

AS_IT_IS = ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "I", "F")
"""Modes of Pillow whose channels are those of the picture; others are another space of colours or places in a palette."""


def plain_array(values: Any) -> np.ndarray:
    """Values as an array; a picture of Pillow becomes [C, H, W], and a list of tensors or pictures has an axis more.

    A tensor may be on any device and of any layout and type. A picture with a palette, or of another space of colours
    (CMYK, HSV), is converted to RGB.

    Raises:
        DatasetError: what they are: without values, of several shapes, of no known space of colours.
    """
    import numpy as np

    if _is_tensor(values):
        return _of_tensor(values)
    if _is_picture(values):
        array = np.asarray(_with_plain_channels(values))
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    try:
        # NumPy would take pictures as they are, with their channels last.
        if isinstance(values, (list, tuple)) and any(_is_tensor(value) or _is_picture(value) for value in values):
            return np.stack([plain_array(value) for value in values])
        return np.asarray(values)
    except (TypeError, ValueError):
        raise DatasetError("are no numbers, or not all of one shape") from None


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "detach")


def _is_picture(values: Any) -> bool:
    return type(values).__module__.startswith("PIL.")


def _of_tensor(tensor: Tensor) -> np.ndarray:
    import numpy as np
    import torch

    if tensor.is_meta:
        raise DatasetError("are on torch's meta device, without values")
    try:
        tensor = tensor.detach().cpu()
        if tensor.is_nested:
            tensor = torch.stack(list(tensor.unbind()))
        tensor = tensor.dequantize() if tensor.is_quantized else tensor
        tensor = tensor if tensor.layout is torch.strided else tensor.to_dense()
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()  # NumPy has no such type; float32 holds all of its values.
        return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
    except (RuntimeError, TypeError, ValueError) as error:
        raise DatasetError(f"are a tensor that cannot be read ({' '.join(str(error).split())})") from None


def _with_plain_channels(picture: Any) -> Any:
    if picture.mode in AS_IT_IS or picture.mode.startswith("I;"):
        return picture
    return picture.convert("RGB")
