"""A model whose setting is drawn at random and hidden from the attacker: what an attack on a mixture of settings sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.layers.condition import View


@dataclass(frozen=True)
class Mixture:
    """Views of one model, and the chance of each: above 0, together 1."""

    views: tuple[View, ...]
    weights: tuple[float, ...]


class MixtureModel(AttackedModel):
    """A model that runs at one of several settings; the attacker knows the chance of each, not which of them runs.

    `robuststack.attacks.loss_gradient` gives the mean of the settings' loss gradients, weighted by their chances: EOT over
    the setting (Athalye et al., ICML 2018). Called as a model it gives the logarithm of the mean probabilities, weighted
    likewise, float32 [N, K]: logits by which attacks compare an image's candidates. It never `settles`: an image that one
    setting gets wrong may be right at another.
    """

    def __init__(self, models: Sequence[AttackedModel], weights: Sequence[float]) -> None:
        """`weights` are above 0 and add up to 1.

        Raises:
            ValueError: they do not.
        """
        if min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6 or len(models) != len(weights):
            raise ValueError(f"{list(weights)} are no chances of {len(models)} settings: each above 0, together 1")
        first = models[0]
        super().__init__(first.view, first.runtime, first.tally, final=False)
        self.models = tuple(models)
        self.weights = tuple(weights)
        self.stochastic = any(model.stochastic for model in models)

    def forward(self, x: Tensor) -> Tensor:
        return self.together([model(x) for model in self.models], self.weights)

    def passes(self, draws: int) -> list[tuple[AttackedModel, float]]:
        """Each setting's share of `draws` forward passes, at least one, or just one if the setting draws no noise. The
        weights of a setting's passes add up to its chance times `draws`."""
        passes: list[tuple[AttackedModel, float]] = []
        for model, chance in zip(self.models, self.weights, strict=True):
            count = max(1, round(chance * draws)) if model.stochastic else 1
            passes += [(model, chance * draws / count)] * count
        return passes

    def together(self, logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """The logarithm of the weighted mean probabilities [N, K] of several passes' logits [N, K]."""
        total = math.log(sum(weights))
        parts = [
            logit.log_softmax(1) + (math.log(weight) - total) for logit, weight in zip(logits, weights, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts), 0)

    def subset(self, index: Tensor) -> MixtureModel:
        return MixtureModel([model.subset(index) for model in self.models], self.weights)
