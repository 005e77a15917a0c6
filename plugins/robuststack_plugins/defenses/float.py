"""FLOAT: one model whose weight noise and norm branch are chosen at deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import robuststack as rs
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack_plugins.defenses import alphas, halves
from robuststack_plugins.defenses.weight_perturbation import PerturbedOptions

if TYPE_CHECKING:
    from torch import nn


class Float(rs.Defense):
    """Learned weight noise and dual norm, trained at lambda 0 and 1 only, tuned in between at deployment.

    The paper doubles batch norms; other norms are doubled alike.
    """

    paper = "Kundu et al., FLOAT: Fast Learnable Once-for-all Adversarial Training, WACV 2023, arXiv 2204.00426"

    class Options(PerturbedOptions):
        recipe: halves.Recipe = halves.recipe_option()
        alpha_weight_decay: bool = rs.option(True, "Decay the noise scales alpha like the weights, as the code does.")

    class Knobs(rs.Options):
        lambda_n: float = rs.option(1.0, "Noise and branch: 0 is the clean end, 1 the robust end.", ge=0, le=1)
        lambda_th: float = rs.option(
            0.0, "The adversarial branch serves lambda_n above this; 0 and 0.5 are published.", ge=0, lt=1
        )

    min_batch = 2  # One half clean, one half adversarial.

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda_n": value, "lambda_th": 0.0} for value in (0.0, 0.2, 0.7, 1.0)]

    def image_passes(self, steps: int) -> float:
        return halves.image_passes(self.options.recipe, steps, self.options.awp)

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_norm import dualise
        from robuststack.layers.noise import add_noise

        condition = Condition("branch", "split", "noise")
        model = architecture.build(shape, num_classes)
        return attach(add_noise(dualise(model, condition), condition), condition)

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return alphas.parameter_groups(model, weight_decay, weight_decay if self.options.alpha_weight_decay else 0.0)

    def training_step(self, step: rs.TrainStep) -> None:
        """Algorithm 1: clean images without noise, adversarial ones with all of it."""
        halves.train_halves(step, self.options.recipe, {"noise": 0.0}, {"noise": 1.0}, self.options.awp)

    def setting(self, point: rs.Point) -> rs.Setting:
        """Eq. 4 and 5: the branch, and how much of alpha the noise gets. lambda_th = 0 and 0.5 are the paper's cases."""
        knob, threshold = point["lambda_n"], point["lambda_th"]
        if knob > threshold:
            return self._setting(point, ADVERSARIAL, (knob - threshold) / (1 - threshold))
        return self._setting(point, CLEAN, knob / threshold if threshold > 0 else 0.0)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is how the reference code scores: the attacker always faces full noise, one draw a step, and only the
        branch follows the knob, and robust accuracy between the ends is scored at full noise too."""
        deployed = self.setting(point)
        noisy = self._setting(point, deployed.values["branch"], 1.0)
        victim = deployed if point["lambda_n"] in (0.0, 1.0) else noisy
        published = rs.Scoring(clean=deployed, attacker=noisy, victim=victim, draws=1)
        return {**super().protocols(point), "published": published}

    def _setting(self, point: rs.Point, branch: int, noise: float) -> rs.Setting:
        noise = round(noise, 12)  # 0.6 / 0.8 and 0.75 are one setting, whose jobs are shared.
        return rs.Setting({"branch": branch, "noise": noise}, stochastic=noise > 0)

    def inspect(self, model: nn.Module) -> Mapping[str, Mapping[str, float]]:
        return alphas.inspect(model)
