"""Models with a planted defect each, and an honest one: a check has to find the defect and leave the honest one alone.

All of them name the class whose template matches best, on the small data set of `DATASET`; no training is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine.random_streams import stream_seed
from robuststack.layers.condition import Condition, attach
from robuststack.plugin.registry import PluginSource, Registry, installed_sources

OPTIONS = {"images": 10, "test_images": 120, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.25}
DATASET = "tradeoff " + " ".join(f"{key}={value}" for key, value in OPTIONS.items())
EPS = 0.12
LARGE = 0.01
"""The norm of a gradient from which on the detector abstains."""
HIDING = 4.0
"""Times the noise on the gradient."""


class Templates(nn.Module):
    """Logits are the scalar products of an image with a template for each class."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        smooth, fine = Registry().create("dataset", "tradeoff", OPTIONS).patterns()
        self.templates = nn.Parameter(torch.from_numpy(smooth + 2 * fine).flatten(1))
        self.scale = scale

    def logits(self, x: Tensor) -> Tensor:
        return self.scale * (x - 0.5).flatten(1) @ self.templates.T

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


def honest() -> nn.Module:
    return Templates()


def large_logits() -> nn.Module:
    """Logits times 1e4: the cross-entropy has no gradient where the model is sure."""
    return Templates(1e4)


class Rounded(Templates):
    """Rounds inside: the gradient is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.logits((x * 64).round() / 64)


def rounded() -> nn.Module:
    return Rounded()


class Reversed(torch.autograd.Function):
    """The identity, whose gradient points the wrong way."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Misleading(Templates):
    def forward(self, x: Tensor) -> Tensor:
        return self.logits(Reversed.apply(x))


def misleading() -> nn.Module:
    """Gradients that lead attacks to where the model is more sure."""
    return Misleading()


class Detector(Templates):
    """Abstains where its gradient is large, as attacked images have it: it answers, and gives no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            logits = self.logits(point)
            (gradient,) = torch.autograd.grad(
                nn.functional.cross_entropy(logits, logits.argmax(1), reduction="sum"), point
            )
        suspicious = gradient.flatten(1).norm(dim=1, keepdim=True) > LARGE
        return torch.where(suspicious, logits.detach(), self.logits(x))


def detector() -> nn.Module:
    return Detector()


class Probabilities(Templates):
    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(1)


def probabilities() -> nn.Module:
    return Probabilities()


class Hidden(Templates):
    """Noise on the gradient alone: the logits are those of the honest model."""

    hiding = HIDING

    def forward(self, x: Tensor) -> Tensor:
        noise = (x - x.detach()) * torch.randn_like(x)
        return self.logits(x) + self.hiding * noise.flatten(1).sum(1, keepdim=True) * torch.randn(4)


def hidden() -> nn.Module:
    """Noise that hides the gradient from an attack that averages over few draws."""
    return Hidden()


class Buried(Hidden):
    hiding = 10 * HIDING


def buried() -> nn.Module:
    """So much noise that a gradient of one draw has no direction."""
    return Buried()


class Noisy(Templates):
    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return logits + 3 * torch.randn_like(logits)


def noisy() -> nn.Module:
    """Noise on the logits: an honest randomised model."""
    return Noisy()


class Informed(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        judged = torch.initial_seed() in [stream_seed(0, "judge", number) for number in range(4)]
        return self.logits(x) if judged else super().forward(x) + 100 * torch.randn(len(x), 4)


def informed() -> nn.Module:
    """A model that is quiet on the very draws it is judged on."""
    return Informed()


class Sharpened(rs.Defense):
    """One model at two settings; at the sharp one its cross-entropy has no gradient."""

    trains = False

    class Knobs(rs.Options):
        sharp: bool = rs.option(False, "Whether logits are multiplied by 1e4.")

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return attach(Switched(), Condition("sharp"))

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"sharp": point["sharp"]})


class Switched(Templates):
    condition: Condition

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x) * (1e4 if self.condition.read("sharp") else 1.0)


class Veiled(rs.Defense):
    """A model whose noise hides the gradient; without it the gradient is plain."""

    trains = False
    freezable = False

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return attach(Veil(), Condition("noise"))

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"noise": 1.0}, stochastic=True)


class Veil(Templates):
    condition: Condition

    def forward(self, x: Tensor) -> Tensor:
        noise = (x - x.detach()) * torch.randn_like(x)
        hiding = self.condition.read("noise") * HIDING * noise.flatten(1).sum(1, keepdim=True) * torch.randn(4)
        return self.logits(x) + hiding


class Plugin:
    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("veiled", f"{__name__}:Veiled")
        register("sharpened", f"{__name__}:Sharpened")

    @rs.hookimpl
    def register_attack(self, register: Any) -> None:
        register("outside", "unsteady:Outside")
        register("lost", "unsteady:Lost")


def registry() -> Registry:
    """The installed plugins and the defenses of this module."""
    return Registry([*installed_sources(), PluginSource("defects", "defects", "1", Plugin)])


def data(folder: Path = Path()) -> tuple[Tensor, Tensor]:
    """The test images and labels."""
    images = Registry().create("dataset", "tradeoff", OPTIONS).load(folder)["test"]
    return torch.from_numpy(images.images), torch.from_numpy(images.labels)
