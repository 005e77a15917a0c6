"""Adversarial training: one model for each trade-off."""

from __future__ import annotations

from typing import Any

from pydantic import Field

import robuststack as rs
from robuststack_plugins.defenses.weight_perturbation import PASSES, PerturbedOptions, perturbed_weights


def lambda_option(default: float) -> Any:
    return Field(
        default, alias="lambda", ge=0, le=1, description="Weight of the adversarial loss; 0 is plain training.",
        json_schema_extra={"shown": True},
    )  # fmt: skip


class PGDAdversarialTraining(rs.Defense):
    """Adversarial training on (1 - lambda) clean + lambda adversarial loss; one model for each lambda."""

    paper = "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"

    class Options(PerturbedOptions):
        lambda_: float = lambda_option(1.0)

    def image_passes(self, steps: int) -> float:
        clean = 1.0 if self.options.lambda_ == 1 else 3.0
        perturbed = PASSES if self.awp else 0.0
        return clean + (0.0 if self.options.lambda_ == 0 else 3.0 + 2.0 * steps + perturbed)

    @property
    def awp(self) -> float:
        """gamma of the adversarial weight perturbation; 0 where a defense has no such option."""
        return float(getattr(self.options, "awp", 0.0))

    def training_setting(self) -> rs.Setting:
        """How the model runs in training, the attacker's included."""
        return rs.Setting()

    def training_step(self, step: rs.TrainStep) -> None:
        """L = (1 - lambda) CE(clean) + lambda CE(adversarial), both over the whole batch. With `awp` the adversarial part
        is that of weights which were moved to raise it."""
        import torch
        from torch.nn import functional

        view = self.view(step.model, self.training_setting())
        # The clean images are forwarded even where their loss weighs nothing: they move the batch norm statistics.
        weight = self.options.lambda_
        with torch.set_grad_enabled(weight < 1):
            clean = view(step.x)
        step.observe("ca", clean, step.y)
        if weight < 1:
            step.backward((1 - weight) * functional.cross_entropy(clean, step.y))
        if weight > 0:
            attacked = step.attack(view, step.x, step.y)
            with perturbed_weights(step.model, self.awp, lambda: functional.cross_entropy(view(attacked), step.y)):
                adversarial = view(attacked)
                step.observe("ra", adversarial, step.y)
                step.backward(weight * functional.cross_entropy(adversarial, step.y))
