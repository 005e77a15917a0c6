"""Layers that take another layer's place and keep its weights."""

from __future__ import annotations

from torch import nn

from robuststack.errors import PluginError


def adopt(layer: nn.Module, old: nn.Module) -> None:
    """Give `layer` the parameters, buffers and attributes of `old`, shared and not copied.

    `layer` is of a class that adds to that of `old`; its own `__init__` calls this in place of the one of torch's layer,
    so that nothing is drawn: a rewritten model starts from the very weights that the architecture drew.

    Raises:
        PluginError: `old` has a forward pass of its own (standardised weights, padding that follows the image), which the
            network would lose without a word.
    """
    if not any(vars(base).get("forward") is type(old).forward for base in type(layer).__mro__):
        raise PluginError(
            f"{type(layer).__name__} cannot stand for {type(old).__name__}, which has a forward pass of its own; use an"
            " architecture of plain layers"
        )
    nn.Module.__init__(layer)
    layer.__dict__.update({key: value for key, value in old.__dict__.items() if key not in layer.__dict__})
    layer._parameters.update(old._parameters)
    layer._buffers.update(old._buffers)
