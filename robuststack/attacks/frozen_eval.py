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


def modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Its modules, each with its mode; those of frozen TorchScript have none."""
    known = ((module, getattr(module, "training", None)) for module in model.modules())
    return [(module, mode) for module, mode in known if mode is not None]


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of an attack; every mode and flag is put back afterwards."""
    before = modes(model)
    # One that was made in inference mode takes no part in gradients, and its flag can be set by nobody.
    trainable = [weight for weight in model.parameters() if weight.requires_grad and not weight.is_inference()]
    eval_mode(model)
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)
