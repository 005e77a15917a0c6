"""Random small networks from a grammar: what people write, put together by chance, known by a number."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

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
    """Some images go through another norm than the others, after the same convolution: those above a threshold in
    brightness or in contrast, or whose brightest pixel is; they are chosen by `where`, or taken out of the batch."""

    def __init__(self, width: int, rule: random.Random) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.dark, self.bright = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.by, self.taken_out = rule.choice(["brightness", "contrast", "peak"]), rule.random() < 0.5

    def chosen(self, x: Tensor) -> Tensor:
        if self.by == "contrast":
            return x.std((1, 2, 3)) > 0.6
        return x.amax((1, 2, 3)) > 1.5 if self.by == "peak" else x.mean((1, 2, 3)) > 0.3

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.chosen(x)
        if self.taken_out:
            y = torch.empty_like(x)
            for part, norm in ((chosen, self.bright), (~chosen, self.dark)):
                if bool(part.any()):
                    y[part] = norm(self.conv(x[part]))
            return y.relu()
        y = self.conv(x)
        if not bool(chosen.any()):
            return self.dark(y).relu()
        return torch.where(chosen[:, None, None, None], self.bright(y), self.dark(y)).relu()


class Deep(nn.Module):
    """A convolution in three dimensions, the channels being one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x[:, None])).squeeze(1)


class Rows(nn.Module):
    """A recurrent network that reads the rows from above."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.GRU(8 * width, 8 * width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.read(x.permute(0, 2, 1, 3).flatten(2))
        return rows.view(len(x), 8, -1, 8).permute(0, 2, 1, 3)


class Mixed(nn.Module):
    """Channels mixed by einsum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,dc->ndhw", x, self.weight)


class Fourier(nn.Module):
    """A filter of complex weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(1 + 0.3 * torch.randn(width, 8, 5, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=x.shape[-2:])


class Double(nn.Module):
    """A convolution and its norm in double precision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1).double(), nn.BatchNorm2d(width).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.double())).relu().float()


class Checkpointed(nn.Module):
    """A convolution and its norm that are computed once more in the backward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inside, x, use_reentrant=False)


class Network(nn.Module):
    """The network of a seed: images [N, 3, 8, 8] -> logits [N, 4]. `scale` comes from a file and is no weight."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rule = random.Random(seed)
        torch.manual_seed(seed)
        width = rule.choice([4, 6, 8])
        self.entry = rule.choice(["plain", "in place", "no grad", "some", "clamp", "normalised"])
        self.register_buffer("mean", torch.full((3, 1, 1), 0.4), persistent=False)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=rule.random() < 0.5)
        self.layers = nn.ModuleList([self.layer(rule, width) for _ in range(rule.randint(1, 4))])
        self.names = [rule.choice(["plain", "residual", "in place", "twice"]) for _ in self.layers]
        self.end = rule.choice(["view", "reshape", "pool", "squeeze", "double", "assign", "two heads"])
        self.mask = rule.choice(["none", "none", "a class", "losers", "log"])
        self.fc = nn.Linear(width if self.end in ("pool", "squeeze") else width * 64, CLASSES)
        self.other = nn.Linear(width * 64, CLASSES)
        self.scale = torch.ones(())
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                nn.init.normal_(module.running_mean, std=0.3), nn.init.uniform_(module.running_var, 0.5, 2)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.normal_(module.bias, std=0.3)
        with torch.no_grad():
            self.fc.weight *= 3
        if self.end == "view" and not self.can_be_viewed():
            self.end = "reshape"

    @staticmethod
    def layer(rule: random.Random, width: int) -> nn.Module:
        conv = lambda **options: nn.Conv2d(width, width, 3, **{"padding": 1, **options})  # noqa: E731
        makers: list[Callable[[], nn.Module]] = [
            lambda: nn.Sequential(conv(), nn.BatchNorm2d(width), nn.ReLU(inplace=rule.random() < 0.5)),
            lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(width), nn.GELU()),
            lambda: nn.Sequential(conv(), nn.GroupNorm(2, width), nn.SiLU(inplace=True)),
            lambda: nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), conv(groups=2)),
            lambda: nn.Sequential(conv(), nn.InstanceNorm2d(width), nn.Dropout(0.5), nn.ReLU()),
            lambda: Attention(width),
            lambda: Exit(width, rule),
            lambda: nn.Sequential(
                conv(dilation=2, padding=2), nn.BatchNorm2d(width, affine=False), nn.ELU(inplace=True)
            ),
            lambda: nn.Sequential(weight_norm(conv()), nn.BatchNorm2d(width), nn.ReLU()),
            lambda: nn.Sequential(spectral_norm(conv()), nn.BatchNorm2d(width), nn.ReLU()),
            lambda: Deep(),
            lambda: Rows(width),
            lambda: Mixed(width),
            lambda: Fourier(width),
            lambda: Double(width),
            lambda: Checkpointed(width),
        ]
        return rule.choice(makers)()

    @torch.no_grad()
    def can_be_viewed(self) -> bool:
        """Whether the last features lie in memory so that torch can view them flat."""
        try:
            self.eval()(torch.zeros(2, 3, 8, 8))
        except RuntimeError:
            return False
        finally:
            self.train()
        return True

    def forward(self, x: Tensor) -> Tensor:
        if self.entry == "in place":
            x.sub_(0.5)
        elif self.entry == "no grad":
            with torch.no_grad():
                x.mul_(2).sub_(1)
        elif self.entry == "some":
            with torch.no_grad():
                x[x.mean((1, 2, 3)) < 0.5] -= 0.2
        elif self.entry == "clamp":
            x = x.clamp_(0.1, 0.9)
        elif self.entry == "normalised":
            x = (x - self.mean) / 0.3
        y = self.stem(x) * self.scale
        for layer, name in zip(self.layers, self.names, strict=True):
            out = layer(y.clone())
            y = y + out if name == "residual" else layer(out) if name == "twice" else out
            if name == "in place":
                y = y.mul(1.5).add_(0.1)
        return self.masked(self.logits(x, y))

    def masked(self, logits: Tensor) -> Tensor:
        if self.mask == "a class":
            return logits + torch.tensor([0.0, 0.0, -torch.inf, 0.0])
        if self.mask == "losers":
            return logits.masked_fill(logits < logits.mean(1, keepdim=True), -torch.inf)
        return (4 * logits).log_softmax(1) if self.mask == "log" else logits

    def logits(self, x: Tensor, y: Tensor) -> Tensor:
        if self.end == "two heads":
            flat = y.flatten(1)
            return torch.where(x.mean((1, 2, 3))[:, None] > 0.5, self.other(flat), self.fc(flat))
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
