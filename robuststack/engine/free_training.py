"""Free adversarial training: perturbations that the backward passes of training itself move (Shafahi et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from robuststack.attacks.ball import Ball
from robuststack.plugin.threat import Threat


@dataclass
class FreePerturbations:
    """What is carried from one training step to the next, for each attack of a step by its number.

    A step takes its images from `images`, and its backward pass leaves their gradient there; `move` climbs it.
    """

    threat: Threat
    step_size: float
    perturbations: dict[int, Tensor] = field(default_factory=dict)
    attacked: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Number of the attack -> the clean images [N, C, H, W] and the perturbed ones, whose gradient is kept."""

    def images(self, number: int, x: Tensor) -> Tensor:
        """The clean images `x` with the perturbation of this attack, a leaf that gathers its gradient."""
        carried = self.perturbations.get(number)
        moved = x if carried is None or carried.shape != x.shape else x + carried
        perturbed = Ball.of(x, self.threat).project(moved).detach().requires_grad_()
        self.attacked[number] = x, perturbed
        return perturbed

    def move(self) -> None:
        """After the backward pass: a step along each gradient, projected to the ball."""
        for number, (x, perturbed) in self.attacked.items():
            if perturbed.grad is None:  # The step did not train on them.
                continue
            ball = Ball.of(x, self.threat)
            moved = ball.project(perturbed.detach() + self.step_size * ball.steepest(perturbed.grad))
            self.perturbations[number] = moved - x
        self.attacked = {}
