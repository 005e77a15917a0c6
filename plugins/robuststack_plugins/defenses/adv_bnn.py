"""Adv-BNN: a Bayesian network, adversarially trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import robuststack as rs
from robuststack_plugins.defenses import ensembles
from robuststack_plugins.defenses.decay import decayed_apart

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import Condition

PUBLISHED_DRAWS = 20


class AdversarialBayesianNetwork(ensembles.Ensembled):
    """Weights mu + exp(s) times noise, mu and s learned by variational inference on adversarial images.

    L = CE(adversarial) + KL / N, with N training images and the KL divergence of all weights and biases of convolutions and
    linear layers from N(0, prior^2); the reference code returns that of the last layer alone. Norms have no noise here, and
    have it there. On a few hundred images the published prior outweighs the data: give a wider one.
    """

    paper = (
        "Liu et al., Adv-BNN: Improved Adversarial Defense through Robust Bayesian Neural Network, ICLR 2019, arXiv"
        " 1810.01279; code: xuanqing94/BayesianDefense"
    )

    published_draws = PUBLISHED_DRAWS

    class Options(rs.Options):
        prior: float = rs.option(0.08, "Deviation of the prior of each weight, sigma_0 in the paper.", gt=0, shown=True)
        deviation: float = rs.option(0.08, "What the deviations exp(s) start at.", gt=0)

    class Knobs(rs.Options):
        ensemble: int = ensembles.ensemble_knob(PUBLISHED_DRAWS)

    def recipe(self) -> Mapping[str, Any]:
        """The reference code's Adam: AdamW without decay is the same."""
        return {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.0}

    def image_passes(self, steps: int) -> float:
        return 3.0 + 2.0 * steps

    def noisy(self, network: nn.Module, condition: Condition, shape: tuple[int, int, int]) -> nn.Module:
        from robuststack.layers.variational import add_variational

        return add_variational(network, condition, self.options.deviation)

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """The logarithms of deviations have the prior, and no weight decay on top, which would draw deviations to 1."""
        from robuststack.layers.variational import Variational

        layers = [module for module in model.modules() if isinstance(module, Variational)]
        logarithms = [layer.get_parameter(f"{name}_s") for layer in layers for name, _ in layer.means()]
        return decayed_apart(model, weight_decay, logarithms, 0.0)

    def training_step(self, step: rs.TrainStep) -> None:
        """L = CE(adversarial) + KL / N; each step of the attack sees a fresh draw."""
        from torch.nn import functional

        from robuststack.layers.variational import divergence

        view = self.view(step.model, ensembles.ensemble_setting(1))
        adversarial = view(step.attack(view, step.x, step.y))
        step.observe("ra", adversarial, step.y)
        kl = divergence(step.model, self.options.prior)
        step.backward(functional.cross_entropy(adversarial, step.y) + kl / step.images)
