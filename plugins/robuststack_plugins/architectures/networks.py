"""The networks themselves. Each norm layer carries its role; pooling is global, so any image size works."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from robuststack.layers.roles import Role, mark


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def norm(channels: int, role: Role = "block") -> nn.BatchNorm2d:
    return mark(nn.BatchNorm2d(channels), role)


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions; torch's own defaults elsewhere."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def pooled(x: Tensor) -> Tensor:
    """The mean over all pixels, [N, C, H, W] -> [N, C].

    By `avg_pool2d`, because the gradient of `mean` comes back in another memory order than that of channels-last
    activations, and the layer below then takes ten times as long.
    """
    return functional.avg_pool2d(x, x.shape[2:]).flatten(1)


class PaddingShortcut(nn.Module):
    """Option A: take every `stride`-th pixel and fill the new channels with zeros; no parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inputs, self.outputs, self.stride = inputs, outputs, stride

    def forward(self, x: Tensor) -> Tensor:
        # In a slimmed network fewer channels arrive and leave.
        new = (self.outputs - self.inputs) * x.shape[1] // self.inputs
        before = new // 2
        # Pooling windows of one pixel: the gradient of a strided slice would come back in another memory order (`pooled`).
        kept = functional.avg_pool2d(x, 1, self.stride)
        return functional.pad(kept, (0, 0, 0, 0, before, new - before))


class ProjectionShortcut(nn.Module):
    """Option B: a strided 1 x 1 convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = conv1x1(inputs, outputs, stride)
        self.norm = norm(outputs, "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, projection: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, channels, stride)
        self.norm1 = norm(channels)
        self.conv2 = conv3x3(channels, channels)
        self.norm2 = norm(channels)
        same = stride == 1 and inputs == channels
        self.shortcut = nn.Identity() if same else projection(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut; four times as many channels leave it."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, projection: type[nn.Module]) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = conv1x1(inputs, channels)
        self.norm1 = norm(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.norm2 = norm(channels)
        self.conv3 = conv1x1(channels, outputs)
        self.norm3 = norm(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm1(self.conv1(x)))
        h = functional.relu(self.norm2(self.conv2(h)))
        return functional.relu(self.norm3(self.conv3(h)) + self.shortcut(x))


class PostActivationResNet(nn.Module):
    """Stem, stages of blocks (each after the first halves the image), global average pooling, linear classifier."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: list[int],
        width: int,
        projection: type[nn.Module],
        channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = conv3x3(channels, width)
        self.stem_norm = norm(width, "stem")
        layers: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                layers.append(block(inputs, width * 2**stage, stride, projection))
                inputs = width * 2**stage * block.expansion
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.stem_norm(self.stem(x)))
        return self.classifier(pooled(self.blocks(h)))  # type: ignore[no-any-return]


class ThreeStageResNet(PostActivationResNet):
    def __init__(self, depth: int, width: int, channels: int, num_classes: int) -> None:
        super().__init__(BasicBlock, [(depth - 2) // 6] * 3, width, PaddingShortcut, channels, num_classes)


class FourStageResNet(PostActivationResNet):
    BLOCKS: ClassVar[dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]]] = {
        18: (BasicBlock, [2, 2, 2, 2]),
        34: (BasicBlock, [3, 4, 6, 3]),
        50: (Bottleneck, [3, 4, 6, 3]),
    }

    def __init__(self, depth: int, width: int, channels: int, num_classes: int) -> None:
        block, blocks = self.BLOCKS[depth]
        super().__init__(block, blocks, width, ProjectionShortcut, channels, num_classes)


class PreActivationBlock(nn.Module):
    """Norm and ReLU before each convolution; where the shape changes, the shortcut is a bare 1 x 1 convolution of the
    activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm2 = norm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(outputs, outputs)
        self.shortcut = None if stride == 1 and inputs == outputs else conv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        h = functional.relu(self.norm2(self.conv1(active)))
        h = self.conv2(self.dropout(h))
        return torch.add(h, x if self.shortcut is None else self.shortcut(active))


class WideResNetwork(nn.Module):
    """Three stages of pre-activation blocks, a final norm, global average pooling, linear classifier."""

    def __init__(self, depth: int, widen: int, thin: int, dropout: float, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = conv3x3(channels, thin)
        layers: list[nn.Module] = []
        inputs = thin
        for stage, width in enumerate((thin * widen, 2 * thin * widen, 4 * thin * widen)):
            for position in range((depth - 4) // 6):
                stride = 2 if stage > 0 and position == 0 else 1
                layers.append(PreActivationBlock(inputs, width, stride, dropout))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.final_norm = norm(inputs, "final")
        self.classifier = nn.Linear(inputs, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.final_norm(self.blocks(self.stem(x))))
        return self.classifier(pooled(h))  # type: ignore[no-any-return]
