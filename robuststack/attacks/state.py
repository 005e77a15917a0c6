"""What an attack keeps from step to step."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor


class State(SimpleNamespace):
    """The memory of one run of a gradient attack, by names of the attack's choice: `State(velocity=torch.zeros_like(x))`.

    A tensor with dimensions holds one row for each image [N, ...]. Images that leave the batch take their rows with them.
    Everything else (numbers, scalar tensors) holds for the whole run.
    """

    def subset(self, index: Tensor) -> State:
        """The memory of the images at the positions `index` [M]."""
        return State(**{
            name: value[index] if isinstance(value, Tensor) and value.dim() else value
            for name, value in vars(self).items()
        })  # fmt: skip
