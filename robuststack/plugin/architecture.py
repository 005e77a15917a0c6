"""What an architecture implements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robuststack.plugin.component import Component

if TYPE_CHECKING:
    from torch import nn


class Architecture(Component):
    """A network family. It builds a plain module, and marks the role of each norm layer with `layers.roles.mark`, or of
    all of them with `mark_by_structure`."""

    kind = "architecture"

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A new module, images of `shape` (C, H, W) -> logits [N, num_classes], freshly initialised.

        If the network wants normalised images, it normalises them itself.
        """
        raise NotImplementedError
