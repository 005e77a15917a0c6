"""A randomised network that answers with the mean probability of several of its draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robuststack.layers.condition import Condition, attach


class DrawEnsemble(nn.Module):
    """A network that runs `ensemble` times on fresh noise: images [N, C, H, W] -> logarithms of the mean probabilities
    [N, K]. At 1 they are the network's logits.

    Reads `ensemble`; sets `member`, from 0, for each run: layers that keep a draw keep one for each member. It costs as
    many forward passes as it has draws.
    """

    def __init__(self, network: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.network = network
        attach(self, condition)

    def forward(self, x: Tensor) -> Tensor:
        condition: Condition = self.condition  # type: ignore[assignment]
        draws = int(condition.read("ensemble") or 1)
        if draws == 1:
            return self.network(x)  # type: ignore[no-any-return]
        answers = []
        for member in range(draws):
            with condition.replacing(member=member):
                answers.append(self.network(x).float().log_softmax(1))
        return torch.logsumexp(torch.stack(answers), 0) - math.log(draws)
