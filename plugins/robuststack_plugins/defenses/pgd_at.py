"""Adversarial training: one model for each trade-off."""

from __future__ import annotations

from pydantic import Field

import robuststack as rs


class PGDAdversarialTraining(rs.Defense):
    """Adversarial training on (1 - lambda) clean + lambda adversarial loss; one model for each lambda."""

    paper = "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"

    class Options(rs.Options):
        lambda_: float = Field(
            1.0, alias="lambda", ge=0, le=1, description="Weight of the adversarial loss; 0 is plain training.",
            json_schema_extra={"shown": True},
        )  # fmt: skip

    def image_passes(self, steps: int) -> float:
        clean = 1.0 if self.options.lambda_ == 1 else 3.0
        return clean + (0.0 if self.options.lambda_ == 0 else 3.0 + 2.0 * steps)

    def training_setting(self) -> rs.Setting:
        """How the model runs in training, the attacker's included."""
        return rs.Setting()

    def training_step(self, step: rs.TrainStep) -> None:
        """L = (1 - lambda) CE(clean) + lambda CE(adversarial), both over the whole batch."""
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
            adversarial = view(step.attack(view, step.x, step.y))
            step.observe("ra", adversarial, step.y)
            step.backward(weight * functional.cross_entropy(adversarial, step.y))
