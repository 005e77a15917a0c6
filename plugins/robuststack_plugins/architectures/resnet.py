"""The four-stage ResNet of the ImageNet experiments, with the stem that CIFAR code gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import robuststack as rs

if TYPE_CHECKING:
    from torch import nn


class ResNet(rs.Architecture):
    """Four-stage residual network with projection shortcuts and a CIFAR stem (3 x 3, stride 1, no max pooling)."""

    paper = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"

    class Options(rs.Options):
        depth: Literal[18, 34, 50] = rs.option(34, "Layers; 50 uses bottleneck blocks.")
        width: int = rs.option(
            64, "Channels of the first stage; the stages have 1, 2, 4 and 8 times as many.", ge=1, smoke=16
        )

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack_plugins.architectures.networks import FourStageResNet

        return FourStageResNet(self.options.depth, self.options.width, shape[0], num_classes)
