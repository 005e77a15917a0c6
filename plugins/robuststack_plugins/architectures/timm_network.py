"""The classification models of timm (PyTorch Image Models)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from robuststack_plugins.architectures.packaged import LibraryNetwork

if TYPE_CHECKING:
    from torch import Tensor, nn


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
    behind a norm then stands before the activation, as elsewhere. The network computes the same, and its state dict has
    timm's keys."""
    from timm.layers import BatchNormAct2d, GroupNormAct, LayerNormAct
    from torch import nn

    from robuststack.layers.roles import rewrite

    kinds = (BatchNormAct2d, GroupNormAct, LayerNormAct)

    def split(norm: nn.Module) -> nn.Module:
        assert isinstance(norm, kinds)
        behind = norm.drop, norm.act
        norm.drop, norm.act = nn.Identity(), nn.Identity()
        layers = nn.Sequential(norm, *behind)
        layers.register_state_dict_post_hook(_as_one_layer)
        layers.register_load_state_dict_pre_hook(_as_several_layers)
        return layers

    rewrite(network, kinds, split)


def _as_one_layer(_: nn.Module, state: dict[str, Tensor], prefix: str, __: object) -> None:
    """The norm's keys without its place in the row: `bn1.weight`, and not `bn1.0.weight`."""
    for key in [key for key in state if key.startswith(f"{prefix}0.")]:
        state[prefix + key.removeprefix(f"{prefix}0.")] = state.pop(key)


def _as_several_layers(layers: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """The other way round. Keys of the layers behind the norm have their places."""
    places = {name for name, _ in layers.named_children()}
    for key in [key for key in state if key.startswith(prefix)]:
        rest = key.removeprefix(prefix)
        if rest.partition(".")[0] not in places:
            state[f"{prefix}0.{rest}"] = state.pop(key)
