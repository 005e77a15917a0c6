"""The defense that is checked, on the kit's network and images, and its model after a few training steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.calibration import CalibrationData
from robuststack.engine.data import Data
from robuststack.engine.phases import part_of
from robuststack.engine.random_streams import seeded
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.dataset import Augmentation, Split
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Point
from robuststack.plugin.options import Options
from robuststack.plugin.phase import Phase
from robuststack.suite.phases import checked
from robuststack.suite.recipe import PhaseRecipe
from robuststack.testing.component import ComponentConformance
from robuststack.testing.network import RUNTIME, THREAT, SmallResNet, TwoSteps, images

SPLITS: tuple[Split, ...] = ("train", "validation")


class SteppedDefense(ComponentConformance):
    """Builds, trains, calibrates and runs a defense as the host does."""

    kind = "defense"
    shape: ClassVar[tuple[int, int, int]] = (3, 8, 8)
    num_classes: ClassVar[int] = 4

    @classmethod
    def architecture(cls) -> Architecture:
        """The network to rewrite: by default a small one of the kit's own."""
        return SmallResNet()

    @classmethod
    def defense(cls) -> Defense:
        """The defense; one that only loads a finished model is not checked further."""
        defense: Defense = cls.create()
        if not defense.trains:
            pytest.skip("it loads a finished model")
        return defense

    @classmethod
    def build(cls, seed: int = 0) -> nn.Module:
        return models.build(cls.defense(), cls.architecture(), cls.shape, cls.num_classes, seed)

    @classmethod
    def phases(cls, defense: Defense) -> Sequence[Phase]:
        """The phases of its training: one over the whole model for a defense that names none."""
        return checked(defense, PhaseRecipe()) or [Phase("", trainer=defense)]

    @classmethod
    @cache
    def _stepped(cls) -> nn.Module:
        defense, model = cls.defense(), cls.build()
        for phase in cls.phases(defense):
            part = cls.part(defense, model, phase)
            optimizer = training.begin(phase.trainer, part, PhaseRecipe(lr=0.05)).optimizer
            for epoch in range(2):
                optimizer.zero_grad()
                cls._step(phase.trainer, part, epoch)
                optimizer.step()
                phase.trainer.after_step(part, optimizer)
        cls.calibrated(defense, model)
        return model.eval()

    @classmethod
    def part(cls, defense: Defense, model: nn.Module, phase: Phase) -> nn.Module:
        """What a phase trains, with the weights of its parent."""
        part = part_of(model, phase, defense)
        parent = next((other for other in cls.phases(defense) if other.name == phase.parent), None)
        if parent is not None:
            part.load_state_dict(part_of(model, parent, defense).state_dict())
        return part

    @classmethod
    def calibrated(cls, defense: Defense, model: nn.Module) -> None:
        splits = {split: Data(*images(cls.shape, cls.num_classes, 16, seed)) for seed, split in enumerate(SPLITS)}
        batch = max(8, defense.min_batch)
        data = CalibrationData(splits, Augmentation(), batch, TwoSteps(), THREAT, RUNTIME, 0)
        with seeded("calibrate"):
            defense.calibrate(model.eval(), data)

    def model(self) -> nn.Module:
        """A copy of the model after two training steps, when no two branches or layers are alike by chance any more."""
        self.defense()
        return copy.deepcopy(self._stepped())

    @classmethod
    def train_step(cls, defense: Defense, model: nn.Module, epoch: int = 0) -> float:
        """The gradients of one training step in each phase; returns the sum of their losses."""
        model.train()
        return sum(cls._step(phase.trainer, part_of(model, phase, defense), epoch) for phase in cls.phases(defense))

    @classmethod
    def _step(cls, trainer: Defense, part: nn.Module, epoch: int) -> float:
        step = training.Step(part.train(), TwoSteps(), THREAT, RUNTIME, 2, 0)
        step.begin(*images(cls.shape, cls.num_classes, max(8, trainer.min_batch), epoch), epoch, 0)
        with seeded(epoch, "step"):
            trainer.training_step(step)
        return float(step.loss)

    @classmethod
    def images(cls, seed: int = 0) -> tuple[Tensor, Tensor]:
        defense = cls.defense()
        return images(cls.shape, cls.num_classes, max(8, defense.min_batch), seed)

    @classmethod
    def points(cls) -> list[dict[str, Any]]:
        """The operating points of a suite that names none, whole."""
        defense = cls.defense()
        return [defense.whole_point(point) for point in defense.operating_points()]

    def logits(self, model: nn.Module, point: Point, x: Tensor, *, frozen: bool = False) -> Tensor:
        with torch.no_grad(), seeded("logits"):
            return self.defense().deploy(model, point, frozen=frozen)(x)  # type: ignore[no-any-return]

    def documented(self) -> list[type[Options]]:
        cls = type(self.create())
        return [cls.Options, cls.Knobs]
