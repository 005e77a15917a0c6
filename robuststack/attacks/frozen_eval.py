"""A model held still for the length of an attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def eval_mode(model: nn.Module) -> None:
    """Put the model into eval mode, by its own `eval` if that works: some networks define a `train` that takes no mode, and
    exported programs refuse it."""
    try:
        model.eval()
    except Exception:
        for module in model.modules():
            module.training = False


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of an attack; every mode and flag is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    eval_mode(model)
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)
