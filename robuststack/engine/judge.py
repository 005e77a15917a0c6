"""What a model says of images: the predicted label of every draw."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import names_class
from robuststack.engine.random_streams import seeded
from robuststack.layers.condition import View
from robuststack.layers.full_float32 import full_float32

NO_CLASS = -1
"""The label where logits name no class: a NaN anywhere, or a largest logit that is not finite. It is always wrong."""


def judge_block(
    view: View, x: Tensor, draws: int, *, seed: int, stream: str, number: int, eight_bit: bool = False
) -> Tensor:
    """The labels [draws, N] that `view` predicts for the block `number` (0-based) of images x [N, C, H, W] in [0, 1].

    The noise is that of the stream (seed, stream, number): the same for whatever images the block holds. `eight_bit` rounds
    the images to multiples of 1/255 first.
    """
    with seeded(seed, stream, number):
        return predictions(view, (x * 255).round() / 255 if eight_bit else x, draws)


@torch.no_grad()
def predictions(view: View, x: Tensor, draws: int) -> Tensor:
    """The labels int64 [draws, N] that `view` predicts, in float32 and eval mode, on fresh noise each draw.

    The largest logit counts, and others may be masked by -inf; `NO_CLASS` stands where there is none.
    """
    with frozen_eval(view), full_float32(x.device):
        # Copies: a network that writes into its input must not move what the next draw sees.
        return torch.stack([_classes(view(x.clone())) for _ in range(draws)])


def _classes(logits: Tensor) -> Tensor:
    return torch.where(names_class(logits), logits.argmax(1), NO_CLASS)
