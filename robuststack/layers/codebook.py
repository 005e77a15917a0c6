"""A codebook that encodes the values of a knob: an orthogonal row for each of them (OAT, arXiv 2010.11828)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def add_codebook(model: nn.Module, dim: int) -> nn.Module:
    """The model with a codebook [dim, dim] as a buffer; with dim 1, where the value itself is its code, without one.

    The rows are part of the model's state: a trained network tells the values apart by them alone.
    """
    if dim > 1:
        model.register_buffer("codebook", torch.linalg.qr(torch.randn(dim, dim))[0])
    return model


def encode(model: nn.Module, values: Sequence[float], index: Tensor) -> Tensor:
    """Positions in `values` [N] -> codes [N, dim]: rows of the model's codebook, or [N, 1], the values themselves."""
    codebook = getattr(model, "codebook", None)
    if codebook is None:
        return torch.tensor(values, device=index.device)[index][:, None]
    return codebook[index]  # type: ignore[no-any-return]
