"""The architecture `the_name`, a plugin for RobustStack."""

from __future__ import annotations

from itertools import pairwise

import robuststack as rs


@rs.hookimpl
def register_architecture(register):
    register("the_name", "robuststack_the_name:TheName")


class TheName(rs.Architecture):
    """Plain convolutional network: a stem and blocks of convolution, batch norm and ReLU."""

    paper = ""  # Where the network is from: authors, title, venue.

    class Options(rs.Options):
        width: int = rs.option(16, "Channels of the stem; each block doubles them.", ge=1)
        blocks: int = rs.option(2, "Blocks; each halves the image.", ge=1, le=5)

    def build(self, shape, num_classes):
        # Torch is imported here and not above: `robuststack list` and `plan` stay quick.
        from robuststack.layers.roles import mark
        from torch import nn

        # Defenses rewrite a network by the roles of its norms: stem, block, shortcut or final.
        def layer(inputs, outputs, stride, role):
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            return [convolution, mark(nn.BatchNorm2d(outputs), role), nn.ReLU()]

        widths = [self.options.width * 2**block for block in range(self.options.blocks + 1)]
        layers = layer(shape[0], widths[0], 1, "stem")
        for inputs, outputs in pairwise(widths):
            layers += layer(inputs, outputs, 2, "block")
        # Global pooling, so that images of any size fit.
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))
