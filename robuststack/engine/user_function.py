"""A model from a function of the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain

import torch
from torch import Tensor, nn

from robuststack.engine.live_network import Function, copied, refuse_without_weights
from robuststack.engine.random_streams import seeded
from robuststack.engine.torch_settings import settings_kept
from robuststack.errors import ModelError
from robuststack.suite.parts import ModelSource
from robuststack.suite.user_model import find_user_model, imported


def call_function(target: str, fingerprint: str) -> nn.Module:
    """What `package.module:function` returns: a module, or a function of images. A name that is a module itself gives a
    copy of it. What the user's code sets in this process meanwhile is put back.

    Raises:
        ModelError: its source has changed since `fingerprint` was taken, it fails, or returns no model with weights.
    """
    if find_user_model(ModelSource(python=target)).fingerprint != fingerprint:
        raise ModelError(f"the source of {target!r} has changed since the run was planned; run again")
    module, _, function = target.partition(":")
    try:
        # Whatever the function draws, every job gets the same model.
        with seeded("user model"), _process_kept(module), imported(module) as theirs:
            named = getattr(theirs, function)
            # A copy: jobs that share the module would share what one of them sets in the model.
            model: object = copied(named) if isinstance(named, nn.Module) else named()
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"model {target!r} cannot be made: {reason}") from error
    if not isinstance(model, nn.Module):
        if isinstance(model, type) or not callable(model):
            kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise ModelError(
                f"model {target!r} gives {kind}; valid: a torch.nn.Module that returns logits, or a function of images"
            )
        model = Function(model)
    refuse_without_weights(model, f"model {target!r}")
    _leave_inference(model)
    return model


@contextmanager
def _process_kept(module: str) -> Iterator[None]:
    """A script that is imported may change the working directory and torch's settings, and read the command line, which is
    not its own here."""
    folder, arguments = os.getcwd(), sys.argv
    sys.argv = [module]
    try:
        with settings_kept(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        sys.argv = arguments
        with suppress(OSError):
            os.chdir(folder)


def _leave_inference(model: nn.Module) -> None:
    """Replace tensors that were made in inference mode, which can take part in no gradient; tied ones stay tied."""
    plain: dict[int, Tensor] = {}

    def replaced(tensor: Tensor) -> Tensor:
        if id(tensor) not in plain:
            copy = tensor.detach().clone()
            plain[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
        return plain[id(tensor)]

    for layer in model.modules():
        own: list[dict[str, object]] = [vars(layer), layer._parameters, layer._buffers]  # type: ignore[list-item]
        for name, value in list(chain.from_iterable(part.items() for part in own)):
            if isinstance(value, Tensor) and value.is_inference():
                part = next(part for part in own if part.get(name) is value)
                part[name] = replaced(value)
