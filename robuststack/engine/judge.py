"""What a model says of images: the predicted label of every draw."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import names_class
from robuststack.engine.random_streams import seeded
from robuststack.errors import ModelError
from robuststack.layers.condition import View
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.generators import GeneratorState

NO_CLASS = -1
"""The label where logits name no class: a NaN anywhere, or a largest logit that is not finite. It is always wrong."""


def judge_block(
    view: View, x: Tensor, draws: int, *, seed: int, stream: str, number: int, eight_bit: bool = False
) -> Tensor:
    """The labels [draws, N] that `view` predicts for the block `number` (0-based) of images x [N, C, H, W] in [0, 1].

    The noise is that of the stream (seed, stream, number): the same for whatever images the block holds. `eight_bit` rounds
    the images to multiples of 1/255 first.

    Raises:
        ModelError: some of these images change a buffer of the model, and what it says of them afterwards; or the model
            draws noise that nobody declared; or it gives no logits for each of them.
    """
    x = (x * 255).round() / 255 if eight_bit else x
    drew = False

    def judged(*more: object) -> Tensor:
        nonlocal drew
        with seeded(seed, stream, number, *more):
            start = GeneratorState.now()
            labels = predictions(view, x, draws)
            drew = not view.stochastic and start.moved()
        return labels

    before = _state(view)
    labels = judged()
    if drew and not torch.equal(labels, judged("again")):
        raise ModelError(
            "a model draws noise for some of these images, and gives them other labels when it is called again; declare it"
            " with `stochastic: true` in the suite's `model:` (evaluate: --stochastic; in Python: stochastic=True)"
        )
    changed = [name for name, state in _state(view).items() if before.get(name) != state]
    # A counter of calls, say, is no harm.
    if changed and not view.stochastic and not torch.equal(labels, judged()):
        raise ModelError(
            f"a model writes into its buffer {changed[0].removeprefix('model.')} when it is called in eval mode, and gives"
            " the same images other labels afterwards; its figures would depend on what it saw first"
        )
    return labels


def _state(view: View) -> dict[str, tuple[int, int]]:
    """What tells whether a buffer was written or replaced."""
    return {
        name: (id(buffer), 0 if buffer.is_inference() else buffer._version) for name, buffer in view.named_buffers()
    }


@torch.no_grad()
def predictions(view: View, x: Tensor, draws: int) -> Tensor:
    """The labels int64 [draws, N] that `view` predicts, in float32 and eval mode, on fresh noise each draw.

    The largest logit counts, and others may be masked by -inf; `NO_CLASS` stands where there is none.
    """
    with frozen_eval(view), full_float32(x.device):
        # Copies: a network that writes into its input must not move what the next draw sees.
        return torch.stack([_classes(view(x.clone()), len(x)) for _ in range(draws)])


def _classes(logits: object, count: int) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count:
        returned = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"a model returns {returned} for {count} images; valid: logits [{count}, K]")
    return torch.where(names_class(logits), logits.argmax(1), NO_CLASS)
