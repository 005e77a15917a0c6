"""A randomised model baked: one realisation of all its randomness, known by a number, stands for it."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.engine.random_streams import seeded
from robuststack.layers.condition import View
from robuststack.layers.freezing import FrozenView, freeze
from robuststack.layers.full_float32 import full_float32


def bake(view: View, number: int, images: Tensor) -> FrozenView:
    """An independent, deterministic copy of the view's model with the baked draw `number` of all its noise.

    The number names the draw: a model has the same one in every job, block and process. `images` [N, C, H, W] are any that
    it takes; they are only looked at.

    Raises:
        ModelError: it has noise that no layer can freeze, or a layer that keeps another draw for each image or batch size.
    """
    with seeded("bake", number):
        baked = freeze(view)
    with full_float32(images.device), torch.no_grad():
        baked.check(images)
    return baked
