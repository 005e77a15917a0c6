"""The threat model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from robuststack.plugin.options import Number, Options, in_pixel_range, option

Norm = Literal["linf", "l2"]
NORM = (
    "The norm of the perturbation: its largest entry (linf), or its Euclidean length over all pixels and channels (l2)."
)


def check_radius(eps: float, norm: Norm | None) -> float:
    """`eps`, if it is a radius in this norm (None: in any).

    Raises:
        ValueError: it is not above 0 or, for linf, above 1: the whole range of a pixel.
    """
    if norm == "linf":
        return in_pixel_range(eps)
    if eps <= 0:
        raise ValueError(f"{eps:g} is no radius; it must be above 0")
    return eps


class Threat(Options):
    """The threat model: how far an adversarial image may be from the clean one."""

    norm: Norm = option("linf", NORM)
    eps: Number = Field(description="The radius of the ball, in units of the [0, 1] pixel range.")

    @field_validator("eps")
    @classmethod
    def _radius(cls, eps: float, info: ValidationInfo) -> float:
        return check_radius(eps, info.data.get("norm"))

    def check_step(self, name: str, step: float) -> None:
        """Refuse a step that is called `name`, if it has no length in this norm.

        Raises:
            ValueError: it is not above 0 or, for linf, above 1: the whole range of a pixel.
        """
        try:
            check_radius(step, self.norm)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
