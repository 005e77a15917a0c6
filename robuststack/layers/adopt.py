"""Layers that take another layer's place and keep its weights."""

from __future__ import annotations

from torch import nn


def adopt(layer: nn.Module, old: nn.Module) -> None:
    """Give `layer` the parameters, buffers and attributes of `old`, shared and not copied.

    `layer` is of a class that adds to that of `old`; its own `__init__` calls this in place of the one of torch's layer,
    so that nothing is drawn: a rewritten model starts from the very weights that the architecture drew.
    """
    nn.Module.__init__(layer)
    layer.__dict__.update({key: value for key, value in old.__dict__.items() if key not in layer.__dict__})
    layer._parameters.update(old._parameters)
    layer._buffers.update(old._buffers)
