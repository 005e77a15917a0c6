"""One combination of a suite's parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.operating_point import Point, Scoring
from robuststack.plugin.threat import Threat
from robuststack.suite.user_model import UserModel
from robuststack.suite.variant import Training, Variant


@dataclass(frozen=True)
class Cell:
    """One combination of all that a model is trained and scored on; the rows of its points differ in nothing else."""

    dataset: Variant
    architecture: Variant | None
    """None where the model brings its own network."""
    threat: Threat
    training: Training
    attack: GradientAttack
    """The training attack."""
    defense: Variant
    points: list[dict[str, Any]]
    user_model: UserModel | None = None
    """The user's own model, in place of one that is trained."""

    @property
    def trains(self) -> bool:
        return self.user_model is None and bool(self.defense.component.trains)

    @property
    def names(self) -> tuple[str, str | None, str]:
        """The names of its dataset, architecture and defense."""
        network = self.architecture.component.name if self.architecture else None
        return self.dataset.component.name, network, self.defense.component.name

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with the options of its attack, defaults included."""
        return {**self.training.recipe.resolved(), "attack": self.attack.resolved()}

    def protocols(self, point: Point) -> dict[str, Scoring]:
        """The ways to score `point`, by name; all of them randomised if the user says that the model is."""
        protocols: dict[str, Scoring] = self.defense.component.protocols(point)
        if self.user_model is None or not self.user_model.source.stochastic:
            return protocols
        return {name: scoring.randomised() for name, scoring in protocols.items()}
