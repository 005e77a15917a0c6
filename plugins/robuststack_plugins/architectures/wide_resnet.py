"""Wide residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import field_validator

import robuststack as rs

if TYPE_CHECKING:
    from torch import nn


class WideResNet(rs.Architecture):
    """Wide pre-activation residual network WRN-D-K of 6n + 4 layers, K times as wide as the thin one."""

    paper = "Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016"

    class Options(rs.Options):
        depth: int = rs.option(16, "Layers: 6n + 4.", ge=10)
        widen: int = rs.option(8, "The widening factor K; the stages have K, 2K and 4K times `width` channels.", ge=1)
        width: int = rs.option(16, "Channels of the stem.", ge=1, smoke=4)
        dropout: float = rs.option(0.3, "Dropout between the two convolutions of a block.", ge=0, lt=1)

        @field_validator("depth")
        @classmethod
        def _whole_blocks(cls, depth: int) -> int:
            if (depth - 4) % 6:
                raise ValueError(f"{depth} is not 6n + 4; valid: 10, 16, 22, 28, 34, 40")
            return depth

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack_plugins.architectures.networks import WideResNetwork

        options = self.options
        return WideResNetwork(options.depth, options.widen, options.width, options.dropout, shape[0], num_classes)
