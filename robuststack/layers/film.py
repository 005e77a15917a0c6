"""Feature-wise linear modulation (Perez et al. 2018), as OAT conditions a network on lambda."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from robuststack.layers.condition import Condition
from robuststack.layers.norms import NORMS, channel_axis, channels
from robuststack.layers.roles import rewrite, role_of


class FiLM(nn.Module):
    """h -> lrelu(mu) * h + lrelu(sigma), with (mu, sigma) = MLP(code), code [N, d] or [1, d]; h is [N, C, H, W] or of any
    shape with its C channels in dimension `axis`.

    The MLP is Linear(d, 2C), LeakyReLU(0.01), Linear(2C, 2C): 4 C^2 + (2d + 4) C parameters (Wang et al. 2020, OAT).
    In a slimmed network h has C_w <= C channels, which get the first 2 C_w rows of the second linear layer, split into
    mu and sigma: one layer serves all widths, and sigma of a narrow one comes from rows that are mu's in a wide one.
    Reads `code`.
    """

    def __init__(self, channels: int, dim: int, condition: Condition, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.hidden = nn.Linear(dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)
        self.condition = condition

    def forward(self, h: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.hidden(self.condition.read("code")), 0.01)
        rows = 2 * h.shape[self.axis]
        both = functional.leaky_relu(functional.linear(hidden, self.out.weight[:rows], self.out.bias[:rows]), 0.01)
        shape = [both.shape[0], *[1] * (h.dim() - 1)]
        shape[self.axis] = rows // 2
        mu, sigma = (half.view(shape) for half in both.chunk(2, dim=1))
        return mu * h + sigma


def modulate(
    model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], dim: int, condition: Condition
) -> nn.Module:
    """Put a FiLM layer behind each norm of `kind` that is the stem's or a block's own; not behind a shortcut's or the
    final one. `kind` is one of torch's norms, or says by `num_features` how many channels it normalises, and by
    `channel_axis` where they stand."""

    def change(norm: nn.Module) -> nn.Module:
        if role_of(norm) not in ("stem", "block"):
            return norm
        if isinstance(norm, NORMS):
            return nn.Sequential(norm, FiLM(channels(norm), dim, condition, channel_axis(norm)))
        film = FiLM(norm.num_features, dim, condition, norm.channel_axis)  # type: ignore[arg-type]
        return nn.Sequential(norm, film)

    rewrite(model, kind, change)
    return model
