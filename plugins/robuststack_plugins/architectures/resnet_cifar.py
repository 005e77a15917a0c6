"""The thin three-stage ResNet of the CIFAR experiments, with parameter-free shortcuts (option A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import field_validator

import robuststack as rs

if TYPE_CHECKING:
    from torch import nn


class CifarResNet(rs.Architecture):
    """Three-stage residual network of 6n + 2 layers with option-A shortcuts, for small images."""

    paper = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2"

    class Options(rs.Options):
        depth: int = rs.option(20, "Layers: 6n + 2.", ge=8)
        width: int = rs.option(16, "Channels of the first stage; the stages have 1, 2 and 4 times as many.", ge=1)

        @field_validator("depth")
        @classmethod
        def _whole_blocks(cls, depth: int) -> int:
            if (depth - 2) % 6:
                raise ValueError(f"{depth} is not 6n + 2; valid: 8, 14, 20, 32, 44, 56, 110")
            return depth

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack_plugins.architectures.networks import ThreeStageResNet

        return ThreeStageResNet(self.options.depth, self.options.width, shape[0], num_classes)
