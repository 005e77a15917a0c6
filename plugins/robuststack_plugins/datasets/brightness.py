"""Stored values brought to those of images: bytes from 0 to 255 or floats from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import robuststack as rs

if TYPE_CHECKING:
    import numpy as np

Refuse = Callable[[str], rs.DatasetError]
BLACK = (1 + 1e-6) / 255
"""A share of white up to which all floats are refused, unless the user says what is white."""


def brightened(values: np.ndarray, white: float | None, refuse: Refuse) -> np.ndarray:
    """Images of any numeric type as uint8 (0 to 255) or float32 (0 to 1), of the same shape.

    `white` is the stored value that is white; None: true for booleans, 255 for whole numbers, 1 for floats. Whole numbers
    whose white is 255 or their largest value are exact; others, and floats of 64 bits, are rounded to float32.

    Raises:
        DatasetError: what `refuse` makes of the problem: values that can be read in two ways while `white` is None, or
            that do not lie between 0 and `white`.
    """
    import numpy as np

    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    low, high = values.min(), values.max()
    problem = doubt(low, high, values.dtype.kind) if white is None else _outside(low, high, values.dtype.kind, white)
    if problem:
        raise refuse(problem)
    if values.dtype.kind in "iu":
        if white in (None, 255):
            return values.astype(np.uint8)
        if white == 1:
            return values.astype(np.uint8) * np.uint8(255)
    if white in (None, 1):
        return values.astype(np.float32)
    return (values / np.float64(white)).astype(np.float32)


def doubt(low: float, high: float, kind: str) -> str:
    """Why values from `low` to `high` could be meant in two ways; empty if they could not.

    `kind` is that of NumPy: `i` and `u` for whole numbers, `f` for floats.
    """
    if kind == "f":
        if not high < math.inf:
            return ""  # The host names the image.
        if low >= 0 and high > 2:
            example = "255" if 128 <= high <= 255 else f"{high:g}"
            of_bytes = ", or white: 255 if they are bytes" if high < 128 else ""
            return f"floats up to {high:g}; say which value is white, for example white: {example}{of_bytes}"
        if 0 < high <= BLACK:
            return (
                f"floats up to {high:g} only: either they were divided by 255 twice (white: 1/255), or these images are"
                " nearly black (white: 1)"
            )
        return ""
    if low < 0:
        return f"whole numbers from {low} to {high}; valid: 0 to 255, or 0 to what the option `white` says"
    if high > 255:
        return f"whole numbers up to {high}; say which value is white, for example white: 65535 (16 bits) or 4095 (12 bits)"
    if high == 1:
        return "whole numbers 0 and 1 only: either 1 is white (white: 1), or these images are nearly black (white: 255)"
    return ""


def _outside(low: float, high: float, kind: str, white: float) -> str:
    # Rounding around the ends is the host's business.
    slack = 1e-2 * white if kind == "f" else 0
    if high == math.inf:
        return ""
    if low < -slack or high > white + slack:
        return f"values from {low:g} to {high:g}; valid with white: {white:g} are 0 to {white:g}"
    return ""
