"""The ball of a threat model: the images that an attack may return, for each norm."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robuststack.plugin.threat import Norm, Threat

PIXELS = (1, 2, 3)
"""The dimensions of an image in a batch [N, C, H, W]."""


class Ball:
    """The images in [0, 1] whose distance to the clean images `x` [N, C, H, W] is at most `eps`, in a norm over all pixels
    and channels of an image. Attacks are written on these verbs, and run in every norm that has them."""

    norm: ClassVar[Norm]

    def __init__(self, x: Tensor, eps: float) -> None:
        self.x = x
        self.eps = eps

    @staticmethod
    def of(x: Tensor, threat: Threat) -> Ball:
        """The ball of `threat` around the images `x`."""
        return BALLS[threat.norm](x, threat.eps)

    def project(self, images: Tensor) -> Tensor:
        """Images of the ball: `images` moved to the norm's ball and then clipped to [0, 1]. What is inside stays as it is.

        No image ends up further from `x` than `eps` and `slack`.
        """
        raise NotImplementedError

    def random(self, generator: Generator) -> Tensor:
        """Images drawn uniformly from the norm's ball, before `project`."""
        raise NotImplementedError

    def random_on_surface(self, generator: Generator) -> Tensor:
        """Images drawn at distance `eps`, before `project`: the starts of Auto-PGD."""
        raise NotImplementedError

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction, of length 1 in the norm, along which a loss of this gradient rises most. A zero gradient gives a
        zero direction. The scale of the gradient does not matter."""
        raise NotImplementedError

    def length(self, difference: Tensor) -> Tensor:
        """The norm [N] of a difference of images [N, C, H, W]."""
        raise NotImplementedError

    @property
    def slack(self) -> float:
        """How far beyond `eps` float32 rounding may put an image that `project` returns."""
        raise NotImplementedError

    def subset(self, index: Tensor) -> Ball:
        """The ball of the images at the positions `index` [M]."""
        return type(self)(self.x[index], self.eps)


class LinfBall(Ball):
    """No pixel is off by more than eps."""

    norm = "linf"
    slack = 1e-6

    def __init__(self, x: Tensor, eps: float) -> None:
        super().__init__(x, eps)
        self.lower, self.upper = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)

    def project(self, images: Tensor) -> Tensor:
        return images.clamp(self.lower, self.upper)

    def random(self, generator: Generator) -> Tensor:
        return self.x + torch.empty_like(self.x).uniform_(-self.eps, self.eps, generator=generator)

    def random_on_surface(self, generator: Generator) -> Tensor:
        """Uniform noise, stretched for each image so that its largest entry is eps (Croce and Hein, ICML 2020)."""
        noise = 2 * torch.rand(self.x.shape, generator=generator, device=self.x.device) - 1
        return self.x + self.eps * noise / noise.abs().amax(PIXELS, keepdim=True)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def length(self, difference: Tensor) -> Tensor:
        return difference.abs().amax(PIXELS)


class L2Ball(Ball):
    """The Euclidean distance over all pixels and channels is at most eps."""

    norm = "l2"

    def project(self, images: Tensor) -> Tensor:
        difference = images - self.x
        length = _length(difference)
        # Only what is outside moves: x plus the difference would round images that are inside.
        outside = length > self.eps + self.slack
        inside = torch.where(outside, self.x + difference * (self.eps / length), images)
        # Last: a pixel of the clean image is in [0, 1], so the clipped pixel is no further from it.
        return inside.clamp_(0, 1)

    def random(self, generator: Generator) -> Tensor:
        """A Gaussian direction of length eps u^(1/d): uniform in the ball."""
        radius = torch.rand((len(self.x), 1, 1, 1), generator=generator, device=self.x.device)
        return self.x + self.eps * radius ** (1 / self.x[0].numel()) * self._direction(generator)

    def random_on_surface(self, generator: Generator) -> Tensor:
        return self.x + self.eps * self._direction(generator)

    def steepest(self, gradient: Tensor) -> Tensor:
        # By the largest entry first, so that no square overflows or vanishes.
        scaled = gradient / gradient.abs().amax(PIXELS, keepdim=True).clamp_(min=torch.finfo(gradient.dtype).tiny)
        return scaled / _length(scaled).clamp_(min=torch.finfo(gradient.dtype).tiny)

    def length(self, difference: Tensor) -> Tensor:
        return _length(difference).flatten()

    @property
    def slack(self) -> float:
        # A float32 norm of 150,528 pixels is off by up to 1.2e-6, a pixel of a sum by half a unit in the last place.
        return 2e-6 * self.eps + 2.0**-24 * math.sqrt(math.prod(self.x.shape[1:]))

    def _direction(self, generator: Generator) -> Tensor:
        """Uniform directions [N, C, H, W] of length 1."""
        return self.steepest(torch.empty_like(self.x).normal_(generator=generator))


def _length(difference: Tensor) -> Tensor:
    """The Euclidean norm of each image [N, 1, 1, 1]."""
    return torch.linalg.vector_norm(difference, dim=PIXELS, keepdim=True)  # type: ignore[no-any-return]


BALLS: dict[Norm, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}


def project(images: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """`images` [N, C, H, W] moved into the ball of `threat` around the clean images `x`, and into [0, 1]."""
    return Ball.of(x, threat).project(images)
