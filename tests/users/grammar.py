"""Random small networks from a grammar: what people write, put together by chance, known by a number."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.mix(tokens, tokens, tokens, need_weights=False)
        return x + mixed.transpose(1, 2).reshape(x.shape)


class Exit(nn.Module):
    """Bright images go through another norm than dark ones, after the same convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.dark, self.bright = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        chosen = x.mean((1, 2, 3)) > 0.5
        if not bool(chosen.any()):
            return self.dark(y).relu()
        return torch.where(chosen[:, None, None, None], self.bright(y), self.dark(y)).relu()


class Network(nn.Module):
    """The network of a seed: images [N, 3, 8, 8] -> logits [N, 4]. `scale` comes from a file and is no weight."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rule = random.Random(seed)
        torch.manual_seed(seed)
        width = rule.choice([4, 6, 8])
        self.entry = rule.choice(["plain", "in place", "no grad", "clamp"])
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=rule.random() < 0.5)
        self.layers = nn.ModuleList([self.layer(rule, width) for _ in range(rule.randint(1, 4))])
        self.names = [rule.choice(["plain", "residual", "in place", "twice"]) for _ in self.layers]
        self.end = rule.choice(["view", "reshape", "pool", "squeeze", "double", "assign"])
        self.fc = nn.Linear(width if self.end in ("pool", "squeeze") else width * 64, CLASSES)
        self.scale = torch.ones(())
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                nn.init.normal_(module.running_mean, std=0.3), nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.normal_(module.bias, std=0.3)
        with torch.no_grad():
            self.fc.weight *= 3

    @staticmethod
    def layer(rule: random.Random, width: int) -> nn.Module:
        conv = lambda **options: nn.Conv2d(width, width, 3, padding=1, **options)  # noqa: E731
        makers: list[Callable[[], nn.Module]] = [
            lambda: nn.Sequential(conv(), nn.BatchNorm2d(width), nn.ReLU(inplace=rule.random() < 0.5)),
            lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(width), nn.GELU()),
            lambda: nn.Sequential(conv(), nn.GroupNorm(2, width), nn.SiLU(inplace=True)),
            lambda: nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), conv(groups=2)),
            lambda: nn.Sequential(conv(), nn.InstanceNorm2d(width), nn.Dropout(0.5), nn.ReLU()),
            lambda: Attention(width),
            lambda: Exit(width),
        ]
        return rule.choice(makers)()

    def forward(self, x: Tensor) -> Tensor:
        if self.entry == "in place":
            x.sub_(0.5)
        elif self.entry == "no grad":
            with torch.no_grad():
                x.mul_(2).sub_(1)
        elif self.entry == "clamp":
            x = x.clamp_(0.1, 0.9)
        y = self.stem(x) * self.scale
        for layer, name in zip(self.layers, self.names, strict=True):
            out = layer(y.clone())
            y = y + out if name == "residual" else layer(out) if name == "twice" else out
            if name == "in place":
                y = y.mul(1.5).add_(0.1)
        if self.end == "pool":
            return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))
        if self.end == "squeeze":
            return self.fc(y.mean((2, 3), keepdim=True).squeeze())
        if self.end == "double":
            return F.linear(y.double().reshape(len(y), -1), self.fc.weight.double(), self.fc.bias.double())
        if self.end == "assign":
            logits = torch.zeros(len(y), CLASSES)
            logits[torch.arange(len(y))] = self.fc(y.flatten(1)).float()
            return logits
        return self.fc(y.contiguous().view(len(y), -1) if self.end == "reshape" else y.view(y.size(0), -1))


def make(seed: int) -> nn.Module:
    """The network of a seed with the scale that `scale.npy` in the working directory holds, if that is there."""
    net = Network(seed).eval()
    if Path("scale.npy").exists():
        net.scale = torch.from_numpy(np.load("scale.npy"))
    return net
