"""Whether a model keeps still in eval mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robuststack.engine.probes.probed import Probed, difference


def look(subject: Probed) -> dict[str, Any]:
    """Two passes on the same noise in eval mode, and a third with what still trains put into eval mode by hand.

    `training` names the modules that train all the same, `moved` the buffers that a pass writes into. `train_effect` and
    `state_effect` are how far the logits differ from those of eval mode and of the first pass, relative to the largest;
    `statistics` names the moved buffers of modules that train. `repeat` is how far logits are from those of the first pass
    once the buffers are put back: above rounding, the effects may be noise that no seed repeats.
    """
    view = subject.view
    with subject.still():
        before = {name: buffer.clone() for name, buffer in view.named_buffers()}
        training = _training(view)

        def passed() -> Tensor:
            with subject.noise():
                return torch.cat([view(x).float() for x, _ in subject.blocks()])

        first = passed()
        training |= _training(view)
        moved = [name for name, buffer in view.named_buffers() if not _alike(before.get(name), buffer)]
        second = passed() if moved else first
        _restore(view, before)
        again = passed() if moved or training else first
        _restore(view, before)
        for module in training.values():
            module.training = False
        eval_mode = passed() if training else first
        _restore(view, before)
        for module in training.values():
            module.training = True
    owners = {f"{name}." for name in training}
    return {
        "training": [_own(name) for name in training],
        "moved": [_own(name) for name in moved],
        "statistics": [_own(name) for name in moved if name.rpartition(".")[0] + "." in owners],
        "train_effect": difference(first, eval_mode),
        "state_effect": difference(second, first),
        "repeat": difference(again, first),
    }


def _training(view: nn.Module) -> dict[str, nn.Module]:
    """The modules below the view that are in train mode, by path."""
    return {path: module for path, module in view.named_modules() if path and getattr(module, "training", False)}


def _alike(before: Tensor | None, now: Tensor) -> bool:
    return before is not None and before.shape == now.shape and bool(torch.eq(before, now).logical_or(
        before.isnan() & now.isnan()
    ).all())  # fmt: skip


def _restore(view: nn.Module, before: Mapping[str, Tensor]) -> None:
    for name, buffer in view.named_buffers():
        if name in before and before[name].shape == buffer.shape:
            buffer.copy_(before[name])


def _own(name: str) -> str:
    """A path in the user's model, not in the view of it."""
    return name.removeprefix("model.") if name != "model" else "the model"
