"""Feature-wise linear modulation (Perez et al. 2018), as OAT conditions a network on lambda."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from robuststack.layers.condition import Condition


class FiLM(nn.Module):
    """h [N, C, H, W] -> lrelu(mu) * h + lrelu(sigma), with (mu, sigma) = MLP(code), code [N, d] or [1, d].

    The MLP is Linear(d, 2C), LeakyReLU(0.01), Linear(2C, 2C): 4 C^2 + (2d + 4) C parameters (Wang et al. 2020, OAT).
    Reads `code`.
    """

    def __init__(self, channels: int, dim: int, condition: Condition) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)
        self.condition = condition

    def forward(self, h: Tensor) -> Tensor:
        code = self.condition.read("code")
        both = functional.leaky_relu(self.out(functional.leaky_relu(self.hidden(code), 0.01)), 0.01)
        mu, sigma = both[:, :, None, None].chunk(2, dim=1)
        return mu * h + sigma
