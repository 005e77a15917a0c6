"""RSE: noise before each convolution, and the mean probability of several draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses import ensembles
from robuststack_plugins.defenses.pgd_at import PGDAdversarialTraining, lambda_option

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import Condition

PUBLISHED_DRAWS = 10


class RandomSelfEnsemble(ensembles.Ensembled, PGDAdversarialTraining):
    """Random self-ensemble: Gaussian noise before each convolution; the answer is the mean probability of 10 draws.

    The noise is there in training and at deployment.
    `lambda` trains on adversarial images too, as `pgd_at` does; the published defense does not.
    """

    paper = (
        "Liu et al., Towards Robust Neural Networks via Random Self-ensemble, ECCV 2018, arXiv 1712.00673; code:"
        " xuanqing94/RobustNet"
    )

    published_draws = PUBLISHED_DRAWS

    class Options(rs.Options):
        lambda_: float = lambda_option(0.0)
        first: float = rs.option(0.2, "Deviation of the noise on the image.", ge=0, le=2)
        others: float = rs.option(0.1, "Deviation of the noise before every other convolution.", ge=0, le=2)

    class Knobs(rs.Options):
        ensemble: int = ensembles.ensemble_knob(PUBLISHED_DRAWS)

    def noisy(self, network: nn.Module, condition: Condition, shape: tuple[int, int, int]) -> nn.Module:
        from robuststack.layers.activation_noise import add_activation_noise

        add_activation_noise(network, condition, shape, first=self.options.first, others=self.options.others)
        return network

    def training_setting(self) -> rs.Setting:
        return ensembles.ensemble_setting(1)
