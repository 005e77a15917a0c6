"""From an architecture and a defense to the model; what torch says of images that do not fit becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from robuststack.errors import PluginError
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.defense import Defense


@contextmanager
def fitting(architecture: Architecture, shape: tuple[int, int, int]) -> Iterator[None]:
    """Building a network or running it for the first time, on images of `shape` (C, H, W).

    Raises:
        PluginError: with the reason, for the errors that layers raise on images too small for them or of another size. An
            error of any other kind is a fault of the plugin and keeps its traceback.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        size = " x ".join(str(extent) for extent in shape)
        reason = str(error) or type(error).__name__
        raise PluginError(f"architecture {architecture.name!r} does not work for images of {size}: {reason}") from error


def network(defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The untrained model: the architecture's module, rewritten by the defense.

    Raises:
        PluginError: the architecture cannot take such images, or `build` gives no module.
    """
    with fitting(architecture, shape):
        model: object = defense.build(architecture, shape, num_classes)
    if not isinstance(model, nn.Module):
        message = f"defense {defense.name!r} on architecture {architecture.name!r} builds {type(model).__name__}"
        raise PluginError(f"{message}; valid: a torch.nn.Module")
    return model
