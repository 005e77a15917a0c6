"""How models are trained: the `train` section of a suite."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from robuststack.plugin.options import Options, PixelLength, option
from robuststack.suite.part import One, Part


class Recipe(Options):
    """How models are trained."""

    epochs: int = option(200, "Passes over the training images.", ge=1)
    batch_size: int = option(128, "Images a step; the last partial batch of an epoch is dropped.", ge=1)
    lr: float = option(0.1, "Initial learning rate.", gt=0)
    momentum: float = option(0.9, "Momentum of SGD.", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's momentum.")
    weight_decay: float = option(5e-4, "L2 penalty.", ge=0)
    schedule: Literal["cosine", "steps", "constant"] = option("cosine", "Learning rate over the epochs.")
    milestones: list[Annotated[int, Field(ge=1)]] = option(
        [], "With `steps`: the epochs at which the learning rate is multiplied by gamma."
    )
    gamma: float = option(0.1, "With `steps`: the factor.", gt=0)
    eps: PixelLength | None = option(
        None, "Radius of the training attack; default: the threat model's. With it, one model serves several radii."
    )
    attack: One = option(
        Part(name="pgd", options={"steps": 7, "step": "oat"}), "The training attack; it must be a gradient attack."
    )
    checkpoint: Literal["last", "best"] = option(
        "last",
        "The weights to keep: of the last epoch, or of the one with the best robust accuracy on the validation split"
        " under the training attack, at the defense's reference point. Never chosen on test.",
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Recipe:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def given(self) -> dict[str, Any]:
        """Only the keys that were written."""
        return self.model_dump(exclude_unset=True)
