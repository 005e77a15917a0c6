"""FLOAT: one model whose weight noise and batch norm branch are chosen at deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import robuststack as rs

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import View

CLEAN, ADVERSARIAL = 0, 1


class Float(rs.Defense):
    """Learned weight noise and dual batch norm, trained at lambda 0 and 1 only, tuned in between at deployment."""

    paper = "Kundu et al., FLOAT: Fast Learnable Once-for-all Adversarial Training, WACV 2023, arXiv 2204.00426"

    class Options(rs.Options):
        recipe: Literal["paper", "code"] = rs.option(
            "paper",
            "`paper` is Algorithm 1: one half of the batch clean, the other adversarial. `code` is the reference code:"
            " all images clean (the second half through the adversarial branch), and the second half adversarial too.",
        )
        alpha_weight_decay: bool = rs.option(True, "Decay the noise scales alpha like the weights, as the code does.")

    class Knobs(rs.Options):
        lambda_n: float = rs.option(1.0, "Noise and branch: 0 is the clean end, 1 the robust end.", ge=0, le=1)
        lambda_th: float = rs.option(
            0.0, "The adversarial branch serves lambda_n above this; 0 and 0.5 are published.", ge=0, lt=1
        )

    min_batch = 2  # One half clean, one half adversarial.

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda_n": one, "lambda_th": 0.0} for one in (0.0, 0.2, 0.7, 1.0)]

    def image_passes(self, steps: int) -> float:
        clean = 3.0 if self.options.recipe == "code" else 1.5
        return clean + 1.5 + steps

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_batch_norm import dualise
        from robuststack.layers.noise import add_noise

        condition = Condition("branch", "split", "noise")
        model = architecture.build(shape, num_classes)
        return attach(add_noise(dualise(model, condition), condition), condition)

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        alphas = [one for name, one in model.named_parameters() if name.endswith(".alpha")]
        chosen = {id(one) for one in alphas}
        others = [one for one in model.parameters() if id(one) not in chosen]
        decay = weight_decay if self.options.alpha_weight_decay else 0.0
        return [{"params": others, "weight_decay": weight_decay}, {"params": alphas, "weight_decay": decay}]

    def training_step(self, step: rs.TrainStep) -> None:
        from torch.nn import functional

        half = step.x.shape[0] // 2
        robust = _view(step.model, branch=ADVERSARIAL, noise=1.0)
        if self.options.recipe == "paper":
            clean_view, clean_x, clean_y = _view(step.model, branch=CLEAN, noise=0.0), step.x[:half], step.y[:half]
            weights = 0.5, 0.5
        else:
            clean_view, clean_x, clean_y = _view(step.model, split=half, noise=0.0), step.x, step.y
            weights = 0.5, 0.25
        clean = clean_view(clean_x)
        step.observe("ca", clean, clean_y)
        step.backward(weights[0] * functional.cross_entropy(clean, clean_y))

        x, y = step.x[half:], step.y[half:]
        adversarial = robust(step.attack(robust, x, y))
        step.observe("ra", adversarial, y)
        step.backward(weights[1] * functional.cross_entropy(adversarial, y))

    def setting(self, point: rs.Point) -> rs.Setting:
        """Eq. 4 and 5: the branch, and how much of alpha the noise gets. lambda_th = 0 and 0.5 are the paper's cases."""
        knob, threshold = point["lambda_n"], point["lambda_th"]
        if knob > threshold:
            return _setting(ADVERSARIAL, (knob - threshold) / (1 - threshold))
        return _setting(CLEAN, knob / threshold if threshold > 0 else 0.0)

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        """`published` is how the reference code scores: the attacker always faces full noise and only the branch follows
        the knob, and robust accuracy between the ends is scored at full noise too."""
        deployed = self.setting(point)
        branch = deployed.values["branch"]
        noisy = _setting(branch, 1.0)
        victim = deployed if point["lambda_n"] in (0.0, 1.0) else noisy
        return {**super().protocols(point), "published": rs.Scoring(clean=deployed, attacker=noisy, victim=victim)}


def _setting(branch: int, noise: float) -> rs.Setting:
    noise = round(noise, 12)  # 0.6 / 0.8 and 0.75 are one setting, whose jobs are shared.
    return rs.Setting({"branch": branch, "noise": noise}, stochastic=noise > 0)


def _view(model: nn.Module, *, noise: float, **values: int) -> View:
    from robuststack.layers.condition import View

    return View(model, {**values, "noise": noise}, stochastic=noise > 0)
