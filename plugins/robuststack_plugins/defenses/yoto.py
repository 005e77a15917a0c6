"""YOTO: one network for all weights of the loss, which is told the weight through FiLM layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.two_ends import BetweenTwoEnds

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robuststack.layers.condition import View


class YouOnlyTrainOnce(BetweenTwoEnds):
    """Loss-conditional training on (1 - lambda) clean + lambda adversarial loss; lambda is any number from 0 to 1.

    Each image of a batch has a lambda of its own, drawn from a Beta distribution, and is attacked at it. A small network
    for each norm makes scale and shift of its channels from lambda itself: OAT's FiLM layer of width 1. Unlike OAT it has
    no second norm, no codebook and no set of lambdas.
    """

    paper = "Dosovitskiy and Djolonga, You Only Train Once: Loss-Conditional Training of Deep Networks, ICLR 2020"

    class Options(rs.Options):
        # Below 0.01 torch's float32 draws of it run out of digits, and come out as 0.5.
        beta: float = rs.option(
            1.0, "lambda is drawn from Beta(beta, beta) in training: 1 is uniform, less favours the ends.", ge=0.01
        )

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.film import FiLM, modulate
        from robuststack.layers.norms import NORMS

        condition = Condition("code")
        model = modulate(architecture.build(shape, num_classes), NORMS, 1, condition)
        if not any(isinstance(module, FiLM) for module in model.modules()):
            raise rs.PluginError("yoto needs an architecture with norm layers in its blocks, and this one has none")
        return attach(model, condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """L = mean_i [(1 - lambda_i) CE(clean_i; lambda_i) + lambda_i CE(adversarial_i; lambda_i)], each lambda_i drawn
        anew; the attack on an image is at its lambda."""
        import torch
        from torch.nn import functional

        beta = torch.full(step.y.shape, self.options.beta, device=step.x.device)
        weight = torch.distributions.Beta(beta, beta).sample()
        view = _view(step.model, weight[:, None])
        clean = view(step.x)
        step.observe("ca", clean, step.y)
        step.backward(((1 - weight) * functional.cross_entropy(clean, step.y, reduction="none")).mean())
        adversarial = view(step.attack(view, step.x, step.y))
        step.observe("ra", adversarial, step.y)
        step.backward((weight * functional.cross_entropy(adversarial, step.y, reduction="none")).mean())

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"lambda": point["lambda"]})

    def view(self, model: nn.Module, setting: rs.Setting) -> View:
        import torch

        device = next(model.parameters()).device
        return _view(model, torch.full((1, 1), float(setting.values["lambda"]), device=device))


def _view(model: nn.Module, code: Tensor) -> View:
    from robuststack.layers.condition import View

    return View(model, {"code": code})
