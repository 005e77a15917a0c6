"""The noise of a float32 pass in a pass of lower precision, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HALVES = (torch.bfloat16, torch.float16)


class Float32Draws(TorchDispatchMode):
    """While it is entered, what torch draws at random in a type of 16 bits is drawn in float32, and rounded.

    A generator gives other numbers in another type. Within this mode a network that adds noise to activations of bf16 gets
    those that it would get in float32 from the same seed, to rounding. Noise that does not come from torch's operators is
    not seen.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        kinds = [leaf.dtype for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        asked = kwargs.get("dtype")
        low = next((kind for kind in (asked, *kinds) if kind in HALVES), None)
        if low is None:
            return func(*args, **kwargs)
        raised_args, raised = tree_map(_raised, (tuple(args), dict(kwargs)))
        drawn = func(*raised_args, **raised)
        written = func._schema.arguments[0].alias_info if func._schema.arguments else None
        if written is not None and written.is_write:
            return args[0].copy_(drawn)
        if asked is torch.float32:
            return drawn
        return tree_map(lambda leaf: leaf.to(low) if _is_float32(leaf) else leaf, drawn)


def _raised(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.float() if leaf.dtype in HALVES else leaf
    return torch.float32 if leaf in HALVES else leaf


def _is_float32(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype is torch.float32
