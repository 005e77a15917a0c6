"""A phase of training: what trains which part of a model, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robuststack.plugin.defense import Defense


@dataclass(frozen=True)
class Phase:
    """One of several stretches of training, which follow each other. Each has an optimiser of its own, and the epochs, the
    schedule and the kept checkpoint of its own recipe."""

    name: str
    """What suites call it (`train: {phases: {NAME: ...}}`): a word, other than that of the defense's other phases."""
    trainer: Defense
    """The defense whose `training_step` trains. Its `recipe`, `min_batch`, `image_passes`, `parameter_groups`,
    `after_step`, `after_epoch` and `reference_point` count in this phase. `checkpoint: best` chooses an epoch as it would
    for the trainer alone."""
    part: str = ""
    """The path of the submodule that is trained, which maps images [N, C, H, W] to logits [N, K]. The trainer sees it as
    its whole model. Empty: the whole model."""
    parent: str | None = None
    """The earlier phase whose part gives its weights to this one before the first epoch. None: the part stays as it was
    built, or as an earlier phase left it."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Keys of a suite's `train` section that this phase changes. What the suite writes for the phase wins over them; what
    it writes for all phases does not."""
