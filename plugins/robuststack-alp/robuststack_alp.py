"""ALP: the logits of an image and of its adversarial image, drawn together."""

from __future__ import annotations

import robuststack as rs


@rs.hookimpl
def register_defense(register):
    register("alp", "robuststack_alp:LogitPairing")


class LogitPairing(rs.Defense):
    """Cross-entropy on clean and adversarial images plus a weight times the squared difference of their logits."""

    paper = "Kannan et al., Adversarial Logit Pairing, 2018, arXiv 1803.06373"

    class Options(rs.Options):
        weight: float = rs.option(0.5, "Weight of the difference: more pairs the logits closer.", gt=0, shown=True)

    def image_passes(self, steps):
        return 6.0 + 2.0 * steps

    def training_step(self, step):
        from torch.nn import functional

        view = self.view(step.model, rs.Setting())
        adversarial = step.attack(view, step.x, step.y)
        clean, moved = view(step.x), view(adversarial)
        step.observe("ca", clean, step.y)
        step.observe("ra", moved, step.y)
        both = functional.cross_entropy(clean, step.y) + functional.cross_entropy(moved, step.y)
        apart = functional.mse_loss(moved.float(), clean.float())
        step.backward(0.5 * both + self.options.weight * apart)
