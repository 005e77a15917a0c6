"""PNI: weight noise whose scale is learned by adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import robuststack as rs
from robuststack_plugins.defenses import alphas

if TYPE_CHECKING:
    from torch import nn


class ParametricNoise(rs.Defense):
    """Parametric noise injection: noise of a learned scale on the weights of all convolutions and linear layers.

    The published schedule (160 epochs, learning rate 0.1 and a tenth of it from epochs 80 and 120, eps 0.031, step 0.01)
    belongs into a suite; nesterov and the weight decay are this defense's defaults.
    """

    paper = (
        "He et al., Parametric Noise Injection: Trainable Randomness to Improve Deep Neural Network Robustness against"
        " Adversarial Attack, CVPR 2019, arXiv 1811.09310"
    )

    class Options(rs.Options):
        granularity: Literal["layer", "channel", "element"] = rs.option(
            "layer", "How many noise scales alpha a layer has: one, one an output channel, or one a weight.", shown=True
        )
        warmup_epochs: int = rs.option(
            5, "First epochs, in which images are clean only; fewer than all.", ge=0, smoke=0
        )

    class Knobs(rs.Options):
        lambda_n: float = rs.option(
            1.0, "Scale of the noise at deployment; 0 is none, 1 what was learned.", ge=0, le=4
        )  # fmt: skip

    def recipe(self) -> Mapping[str, Any]:
        return {"nesterov": True, "weight_decay": 3e-4}

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda_n": value} for value in (0.0, 0.5, 1.0, 1.5)]

    def image_passes(self, steps: int) -> float:
        return 3.0 + 3.0 + 2.0 * steps

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.noise import add_noise

        condition = Condition("noise")
        model = architecture.build(shape, num_classes)
        return attach(add_noise(model, condition, self.options.granularity, linear=True), condition)

    def check_recipe(self, recipe: rs.PhaseRecipe) -> None:
        warmup, epochs = self.options.warmup_epochs, recipe.epochs
        if warmup >= epochs:
            raise ValueError(
                f"warmup_epochs {warmup}: no image would be attacked in training; valid: less than train.epochs, {epochs}"
            )

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return alphas.parameter_groups(model, weight_decay, alpha_weight_decay=0.0)

    def training_step(self, step: rs.TrainStep) -> None:
        """L = 0.5 CE(clean) + 0.5 CE(adversarial), both noisy and over the whole batch. The attack, each step on a fresh
        draw in eval mode, climbs the loss of the labels that the noisy clean pass predicted, so that it leaks no true ones.
        """
        from torch.nn import functional

        noisy = self.view(step.model, rs.Setting({"noise": 1.0}, stochastic=True))
        clean = noisy(step.x)
        step.observe("ca", clean, step.y)
        loss = functional.cross_entropy(clean, step.y)
        if step.epoch < self.options.warmup_epochs:
            step.backward(loss)
            return
        step.backward(0.5 * loss)
        predicted = clean.detach().argmax(1)
        adversarial = noisy(step.attack(noisy, step.x, predicted))
        step.observe("ra", adversarial, step.y)
        step.backward(0.5 * functional.cross_entropy(adversarial, step.y))

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"noise": point["lambda_n"]}, stochastic=point["lambda_n"] > 0)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is how the reference code scores: the attacker takes the gradient of one draw a step."""
        deployed = self.setting(point)
        published = rs.Scoring(clean=deployed, attacker=deployed, victim=deployed, draws=1)
        return {**super().protocols(point), "published": published}

    def inspect(self, model: nn.Module) -> Mapping[str, Mapping[str, float]]:
        return alphas.inspect(model)
