"""Free adversarial training: the backward pass that moves the weights moves the images too."""

from __future__ import annotations

import robuststack as rs


class Free(rs.GradientAttack):
    """No attack of its own: training repeats each batch, and its backward passes move the images too.

    Each repetition moves them by a step of eps along the gradient that its backward pass gives them.

    The perturbation is carried from batch to batch, as in the reference code. There it starts at 0 once, and here in each
    epoch, so that a killed run goes on with the same numbers; and here it is cut to what stays in [0, 1] before it is
    carried. Batches are repeated for training that attacks nothing, too. An epoch is `replays` times as many steps of the
    optimiser: the paper divides the epochs by as much.
    """

    paper = "Shafahi et al., Adversarial Training for Free!, NeurIPS 2019, arXiv 1904.12843"
    training_only = True

    class Options(rs.Options):
        replays: int = rs.option(8, "How often each batch is repeated, m in the paper.", ge=2, smoke=2)

    @property
    def replays(self) -> int:
        return int(self.options.replays)

    @property
    def steps(self) -> int:
        return 0

    def step_size(self, threat: rs.Threat) -> float:
        return threat.eps
