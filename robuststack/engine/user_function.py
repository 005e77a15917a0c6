"""A model from a function of the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain

import torch
from torch import Tensor, nn

from robuststack.engine.random_streams import seeded
from robuststack.errors import ModelError
from robuststack.suite.parts import ModelSource
from robuststack.suite.user_model import find_user_model, imported


def call_function(target: str, fingerprint: str) -> nn.Module:
    """What `package.module:function` returns. What the module sets in this process meanwhile is put back.

    Raises:
        ModelError: its source has changed since `fingerprint` was taken, it fails, or returns no module.
    """
    if find_user_model(ModelSource(python=target)).fingerprint != fingerprint:
        raise ModelError(f"the source of {target!r} has changed since the run was planned; run again")
    module, _, function = target.partition(":")
    try:
        # Whatever the function draws, every job gets the same model.
        with seeded("user model"), _settings_kept(module), imported(module) as theirs:
            model = getattr(theirs, function)()
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"model {target!r} cannot be made: {reason}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {target!r} gives {type(model).__name__}; valid: a torch.nn.Module that returns logits")
    unmade = next((path for path, value in model.named_parameters() if nn.parameter.is_lazy(value)), None)
    if unmade is not None:
        raise ModelError(
            f"model {target!r} has no weights yet: {unmade} is of a lazy layer, which makes them when it is first called;"
            " call the model once in the function, and load its weights"
        )
    _leave_inference(model)
    return model


@contextmanager
def _settings_kept(module: str) -> Iterator[None]:
    """A script that is imported may change the working directory and torch's settings, and read the command line, which is
    not its own here."""
    folder, arguments = os.getcwd(), sys.argv
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    sys.argv = [module]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        sys.argv = arguments
        with suppress(OSError):
            os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


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
