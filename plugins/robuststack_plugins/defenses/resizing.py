"""The layer of `random_resize`: an image resized to a random size and padded at a random place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.layers.condition import Condition


def largest_side(side: int, largest: float) -> int:
    """The longest that a side of so many pixels becomes at the ratio `largest`: longer by a pixel at least if that is
    above 1."""
    # 1.1 times 10 is a little above 11 in floating point.
    return max(math.ceil(round(side * largest, 6)), side + (largest > 1))


class RandomResize(nn.Module):
    """A network behind random resizing: images [N, C, H, W] -> logits [N, K].

    Reads `largest`, the ratio L. In each forward pass the batch is resized to a height uniform in H, ..., ceil(L H), its
    width in proportion, by nearest neighbours, and padded with zeros to ceil(L H) x ceil(L W) at a uniform place. At 1 the
    image is left alone. One draw serves the whole batch, as in the reference code
    (cihangxie/NIPS2017_adv_challenge_defense).
    """

    def __init__(self, network: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.network, self.condition = network, condition
        self.kept: list[float] | None = None

    def draw(self) -> list[float]:
        """Three uniform numbers in [0, 1): which size, and the place from the top and from the left."""
        return torch.rand(3, device="cpu").tolist()

    def freeze(self) -> None:
        """Keep one size and place from now on."""
        self.kept = self.draw()

    def forward(self, x: Tensor) -> Tensor:
        ratio = float(self.condition.read("largest") or 1.0)
        return self.network(x if ratio <= 1 else resized(x, ratio, self.kept or self.draw()))  # type: ignore[no-any-return]


def resized(x: Tensor, ratio: float, drawn: list[float]) -> Tensor:
    """Images [N, C, H, W] -> [N, C, ceil(ratio H), ceil(ratio W)], at the size and place that three numbers in [0, 1)
    say."""
    height, width = x.shape[2:]
    full_height, full_width = largest_side(height, ratio), largest_side(width, ratio)
    size, top_share, left_share = drawn
    more = int(size * (full_height - height + 1))
    new_height = height + more
    new_width = width + round(more * (full_width - width) / (full_height - height))
    top = int(top_share * (full_height - new_height + 1))
    left = int(left_share * (full_width - new_width + 1))
    scaled = functional.interpolate(x, size=(new_height, new_width), mode="nearest")
    return functional.pad(scaled, (left, full_width - new_width - left, top, full_height - new_height - top))
