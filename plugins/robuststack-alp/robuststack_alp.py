"""TRADES: clean accuracy and smoothness of the predictions, traded by beta."""

from __future__ import annotations

import robuststack as rs


@rs.hookimpl
def register_defense(register):
    register("trades", "robuststack_trades:Trades")


class Trades(rs.Defense):
    """Cross-entropy plus beta times the divergence of predictions between clean and adversarial images."""

    paper = "Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019"

    class Options(rs.Options):
        beta: float = rs.option(6.0, "Weight of the divergence: more is more robust.", gt=0, shown=True)

    def image_passes(self, steps):
        return 7.0 + 2.0 * steps

    def training_step(self, step):
        from torch.nn import functional

        view = self.view(step.model, rs.Setting())

        def divergence(logits, target):
            return functional.kl_div(logits.log_softmax(1), target, reduction="none").sum(1)

        # The attack climbs the divergence from the clean predictions, in the mode it is judged in.
        was_training = step.model.training
        target = view.eval()(step.x).softmax(1).detach()
        view.train(was_training)
        adversarial = step.attack(view, step.x, target, loss=divergence, start="normal")
        clean, moved = view(step.x), view(adversarial)
        step.observe("ca", clean, step.y)
        step.observe("ra", moved, step.y)
        smooth = divergence(moved.float(), clean.float().softmax(1)).mean()
        step.backward(functional.cross_entropy(clean, step.y) + self.options.beta * smooth)
