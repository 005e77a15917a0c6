"""How data flows through a network: autograd's graph of one forward pass, from the image to the logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Operation:
    """One operation on activations. `inputs` are the positions of the operations whose results it reads, and `module` is
    the layer whose output it is, where it is one of the layers asked for."""

    name: str
    inputs: tuple[int, ...]
    module: nn.Module | None = None


def operations(model: nn.Module, shape: tuple[int, int, int], kinds: tuple[type[nn.Module], ...]) -> list[Operation]:
    """The operations between a blank image of `shape` (C, H, W), the first of them, and the logits, the last; each stands
    behind those it reads. Layers of `kinds` are named.

    Autograd records every network that runs, whatever its Python code does; symbolic tracing (torch.fx) stops at the
    first branch that depends on a tensor. The pass is in eval mode, so that it leaves batch statistics alone and drops
    nothing; the modes are restored.

    Raises:
        Whatever the model raises when it cannot take such an image.
    """
    outputs: dict[Any, nn.Module] = {}

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        outputs.setdefault(output.grad_fn, module)

    first = next(model.parameters())
    image = torch.zeros(1, *shape, device=first.device, dtype=first.dtype, requires_grad=True)
    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, kinds)]
    try:
        with _evaluating(model), torch.enable_grad():
            logits = model(image)
    finally:
        for hook in hooks:
            hook.remove()

    steps: list[Operation] = []
    positions: dict[Any, int] = {}
    for node in _inputs_first(logits.grad_fn):
        inputs = tuple(positions[source] for source, _ in node.next_functions if source in positions)
        # What does not come from the image is a weight, or made of weights.
        if inputs or getattr(node, "variable", None) is image:
            positions[node] = len(steps)
            steps.append(Operation(node.name(), inputs, outputs.get(node)))
    return steps


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _inputs_first(last: Any) -> Iterator[Any]:
    """The nodes above and with `last`, each behind its inputs."""
    seen, pending = {last}, [(last, iter(last.next_functions))]
    while pending:
        node, inputs = pending[-1]
        above = next((source for source, _ in inputs if source is not None and source not in seen), None)
        if above is None:
            pending.pop()
            yield node
        else:
            seen.add(above)
            pending.append((above, iter(above.next_functions)))
