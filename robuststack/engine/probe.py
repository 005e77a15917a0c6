"""A model called once before any compute, so that what could not be evaluated is refused while nothing is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import device_of
from robuststack.errors import ModelError, RobustStackError
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry


def probe(
    registry: Registry, defense: Defense, model: nn.Module, dataset: Dataset, *, gradients: bool, name: str
) -> None:
    """Call the model once, at its reference point, and refuse one that could not be evaluated.

    Raises:
        ModelError: it is no model of the defense, does not take the images, returns no logits [N, K], or gives no
            gradients where attacks need them.
    """
    shape, num_classes = dataset.shape, dataset.num_classes
    try:
        view = defense.view(model, defense.reference_setting())
    except RobustStackError:
        raise
    except Exception as error:
        raise ModelError(f"{name} is no model of defense {defense.name!r}: {error}") from error
    device = device_of(model)
    with seeded("probe"), frozen_eval(view):
        images = torch.rand(2, *shape, device=device, requires_grad=True)
        try:
            logits = view(images)
        except (RobustStackError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            takes_colour = shape[0] == 1 and _runs(view, images.expand(-1, 3, -1, -1))
            reason = _colour(dataset) if takes_colour else f"{type(error).__name__}: {error}"
            raise ModelError(f"{name} cannot take images of shape {list(shape)}: {reason}") from error
        if not isinstance(logits, Tensor):
            kind = type(logits).__name__
            raise ModelError(f"{name} returns {kind}; valid: a tensor of logits [N, {num_classes}]")
        if tuple(logits.shape) != (2, num_classes):
            raise ModelError(
                f"{name} returns {list(logits.shape)} for 2 images; the dataset has {num_classes} classes, so logits are"
                f" [2, {num_classes}]"
            )
        if _probabilities(logits):
            raise ModelError(f"{name} returns probabilities; remove its softmax: attacks need logits")
        if gradients and not logits.requires_grad:
            raise ModelError(f"{name} gives no gradients, which attacks here need; {registry.gradient_free()}")


def _colour(dataset: Dataset) -> str:
    """The way out for a network that takes colour where the dataset has none."""
    if "channels" in type(dataset.options).model_fields:
        return "it takes 3 channels; give the dataset the option `channels: 3`"
    return f"it takes 3 channels, and the images of {dataset.name} have 1"


def _runs(view: nn.Module, images: Tensor) -> bool:
    try:
        view(images)
    except Exception:
        return False
    return True


def _probabilities(logits: Tensor) -> bool:
    rows = logits.detach().float()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
