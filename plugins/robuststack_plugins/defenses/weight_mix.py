"""One network between two: weights interpolated at deployment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

import robuststack as rs
from robuststack_plugins.defenses.logit_mix import robust_phase
from robuststack_plugins.defenses.undefended import Undefended

if TYPE_CHECKING:
    from torch import nn

BATCHES = 20
"""Batches of training images that the batch statistics between the ends are estimated on."""


def _usable(alphas: list[float]) -> list[float]:
    if sorted(set(alphas)) != alphas or alphas[:1] != [0] or alphas[-1:] != [1]:
        raise ValueError("alphas must rise from 0 to 1")
    return alphas


class WeightMix(rs.Defense):
    """All weights between a robust network and its clean fine-tune: (1 - alpha) clean + alpha robust.

    The phase `robust` trains as `pgd_at` with lambda 1. The phase `clean` goes on from its weights as `none` does, for a
    share of the epochs at a smaller learning rate. Between the ends the statistics of batch norms are estimated on clean
    training images, for each of `alphas`. One network runs at every alpha; both are stored.
    With `checkpoint: best` the phase `clean` keeps its last epoch.
    """

    paper = (
        "Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022;"
        " Zhu et al., Improving Generalization of Adversarial Training via Robust Critical Fine-Tuning, ICCV 2023;"
        " code: microsoft/robustlearn"
    )

    class Options(rs.Options):
        alphas: Annotated[list[float], AfterValidator(_usable)] = rs.option(
            [0.0, 0.2, 0.5, 0.8, 1.0], "The values of alpha that can be deployed."
        )
        tuning_epochs: float = rs.option(
            0.2, "Epochs of the phase `clean`, as a share of the recipe's, rounded up.", gt=0, le=1
        )
        tuning_lr: float = rs.option(
            0.1, "Learning rate of the phase `clean`, as a share of the recipe's.", gt=0, le=1, shown=True
        )

    class Knobs(rs.Options):
        alpha: float = rs.option(
            0.5, "Weight of the robust network: 0 is the clean fine-tune, 1 the robust network.", ge=0, le=1
        )

    def phases(self, recipe: rs.PhaseRecipe) -> Sequence[rs.Phase]:
        import math

        epochs = math.ceil(round(self.options.tuning_epochs * recipe.epochs, 6))
        tuning = {"epochs": epochs, "lr": self.options.tuning_lr * recipe.lr, "checkpoint": "last"}
        return [robust_phase(), rs.Phase("clean", trainer=Undefended(), part="clean", parent="robust", recipe=tuning)]

    def operating_points(self) -> list[rs.Point]:
        return [{"alpha": value} for value in self.options.alphas]

    def reference_point(self) -> rs.Point:
        return {"alpha": self.options.alphas[len(self.options.alphas) // 2]}

    def check_point(self, point: rs.Point) -> None:
        if point["alpha"] not in self.options.alphas:
            valid = ", ".join(f"{value:g}" for value in self.options.alphas)
            raise ValueError(f"alpha {point['alpha']:g} has no batch statistics; those of the option `alphas`: {valid}")

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        import copy

        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.mixing import WeightMix as Mixed

        condition = Condition("mix")
        robust = architecture.build(shape, num_classes)
        between = self.options.alphas[1:-1]
        return attach(Mixed(copy.deepcopy(robust), robust, between, condition), condition)

    def calibrate(self, model: nn.Module, calibration: rs.Calibration) -> None:
        """The batch statistics between the ends, on `BATCHES` batches of training images."""
        for alpha in self.options.alphas[1:-1]:
            batches = (images for images, _ in itertools.islice(calibration.training(), BATCHES))
            model.estimate(alpha, batches)  # type: ignore[operator]

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"mix": point["alpha"]})

    def parameters(self, model: nn.Module, setting: rs.Setting) -> int:
        """Those of one network: the two are one when they are mixed."""
        return sum(weight.numel() for weight in model.get_submodule("robust").parameters())
