"""The classification models of timm (PyTorch Image Models)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from robuststack_plugins.architectures.packaged import LibraryNetwork

if TYPE_CHECKING:
    from torch import nn


class TimmNetwork(LibraryNetwork):
    """Any classification model of timm with random weights."""

    paper = "Wightman, PyTorch Image Models, 2019, https://github.com/huggingface/pytorch-image-models"
    package = "timm"
    install = "robuststack[timm]"
    reserved = frozenset({
        "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "num_classes", "in_chans",
        "features_only",
    })  # fmt: skip

    def _known(self) -> Sequence[str]:
        return _timm().list_models()  # type: ignore[no-any-return]

    def _create(self, channels: int, num_classes: int) -> nn.Module:
        network: nn.Module = _timm().create_model(
            self.options.model, pretrained=False, num_classes=num_classes, in_chans=channels, **self.options.arguments
        )
        _split_activations(network)
        return network


def _timm() -> ModuleType:
    with warnings.catch_warnings():
        # It decorates with what later versions of torch deprecate.
        warnings.simplefilter("ignore", FutureWarning)
        return importlib.import_module("timm")


def _split_activations(network: nn.Module) -> None:
    """Put the activation that some of timm's norms end with behind them, as a layer of its own: what a defense places
    behind a norm then stands before the activation, as elsewhere. The network computes the same."""
    from timm.layers import BatchNormAct2d, GroupNormAct, LayerNormAct
    from torch import nn

    from robuststack.layers.roles import rewrite

    kinds = (BatchNormAct2d, GroupNormAct, LayerNormAct)

    def split(norm: nn.Module) -> nn.Module:
        assert isinstance(norm, kinds)
        behind = norm.drop, norm.act
        norm.drop, norm.act = nn.Identity(), nn.Identity()
        return nn.Sequential(norm, *behind)

    rewrite(network, kinds, split)
