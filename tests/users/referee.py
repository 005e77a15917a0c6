"""The referee of every fast path: a plain float32 loop, and small networks that know something of a small data set."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robuststack.plugin.dataset import Dataset, Images
from robuststack.plugin.registry import Registry

DATASET = "tradeoff images=60 test_images=30 size=8 classes=4"
OPTIONS = {"images": 60, "test_images": 30, "size": 8, "classes": 4}
EPS = 0.1


class Base(nn.Module):
    """Two convolutions and a classifier; networks of the tests change its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.conv2(self.norm(self.conv1(x)).relu()).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(1))


@cache
def loaded() -> dict[str, Images]:
    """The small data set, read once."""
    dataset: Dataset = Registry().create("dataset", "tradeoff", OPTIONS)
    return dict(dataset.load(Path()))


def split(name: str) -> tuple[Tensor, Tensor]:
    """The images and labels of a split of the small data set."""
    data = loaded()[name]
    return torch.tensor(data.images), torch.tensor(data.labels)


def taught(net: nn.Module, steps: int = 20) -> nn.Module:
    """The network after a few steps on the training images, in eval mode."""
    x, y = split("train")
    optimizer = torch.optim.Adam([parameter for parameter in net.parameters() if parameter.requires_grad], lr=1e-2)
    net.train()
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(net(x.clone()).reshape(len(x), 4), y).backward()
            optimizer.step()
    for module in net.modules():  # Some networks have no `eval` that works.
        module.training = False
    return net


def figures(model: nn.Module) -> tuple[float, float]:
    """Clean accuracy and accuracy under FGSM, in percent, of a model that returns logits [N, K], written as papers do."""
    x, y = split("test")
    for module in model.modules():
        module.training = False
    with torch.no_grad():
        clean = model(x.clone()).argmax(1) == y
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        loss = F.cross_entropy(model(point.clone()), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, point)
    adversarial = (x + EPS * gradient.sign()).clamp(0, 1)
    with torch.no_grad():
        robust = model(adversarial.clone()).argmax(1) == y
    return 100 * float(clean.float().mean()), 100 * float(robust.float().mean())
