"""The classification models of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.architectures.packaged import LibraryNetwork

if TYPE_CHECKING:
    from torch import nn

WITH_HEADS = ("googlenet", "inception_v3")
"""Built without the auxiliary classifiers, whose logits a defense would have to know of, and as torchvision initialises
them by default."""


class TorchvisionNetwork(LibraryNetwork):
    """Any classification model of torchvision with random weights; it takes images of three channels."""

    paper = "TorchVision: PyTorch's Computer Vision library, https://github.com/pytorch/vision"
    package = "torchvision"
    install = "robuststack"
    reserved = frozenset({"weights", "progress", "num_classes", "aux_logits"})

    def _known(self) -> Sequence[str]:
        from torchvision import models

        return models.list_models(module=models)  # type: ignore[no-any-return]

    def _create(self, channels: int, num_classes: int) -> nn.Module:
        from torchvision import models

        if channels != 3:
            raise rs.PluginError(
                f"torchvision:{self.options.model} takes images of 3 channels, not {channels}: give the dataset the option"
                " channels: 3, or use an architecture that takes any number, such as resnet18 or timm:resnet18"
            )
        heads = {"aux_logits": False, "init_weights": True} if self.options.model in WITH_HEADS else {}
        arguments = {**heads, **self.options.arguments}
        return models.get_model(self.options.model, weights=None, num_classes=num_classes, **arguments)  # type: ignore[no-any-return]
