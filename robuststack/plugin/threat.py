"""The threat model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from robuststack.plugin.options import Options, PixelLength, option

if TYPE_CHECKING:
    pass


class Threat(Options):
    """The threat model: how far an adversarial image may be from the clean one."""

    norm: Literal["linf"] = option("linf", "The norm of the perturbation.")
    eps: PixelLength = Field(description="The radius of the ball, in units of the [0, 1] pixel range.")
