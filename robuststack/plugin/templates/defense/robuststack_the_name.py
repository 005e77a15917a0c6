"""The defense `the_name`, a plugin for RobustStack."""

from __future__ import annotations

import robuststack as rs


@rs.hookimpl
def register_defense(register):
    register("the_name", "robuststack_the_name:TheName")


class TheName(rs.Defense):
    """Adversarial training on a mix of clean and adversarial loss."""

    paper = ""  # Where the method is from: authors, title, venue.

    class Options(rs.Options):
        weight: float = rs.option(0.5, "Weight of the adversarial loss; the rest is clean.", gt=0, le=1, shown=True)

    def image_passes(self, steps):
        # Forward and backward pass of clean and adversarial images, and two passes for each step of the attack.
        return 6.0 + 2.0 * steps

    def training_step(self, step):
        # Torch is imported here and not above: `robuststack list` and `plan` stay quick.
        from torch.nn import functional

        view = self.view(step.model, rs.Setting())
        adversarial = step.attack(view, step.x, step.y)
        clean, attacked = view(step.x), view(adversarial)
        step.observe("ca", clean, step.y)
        step.observe("ra", attacked, step.y)
        weight = self.options.weight
        step.backward((1 - weight) * functional.cross_entropy(clean, step.y))
        step.backward(weight * functional.cross_entropy(attacked, step.y))
