"""Matrix products and convolutions that torch's own counter leaves out, or counts as if a sparse matrix were dense.

Each function takes the arguments of the operation and returns two operations for each multiply-accumulate, as torch does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def _elements(matrix: Tensor) -> int:
    """The elements that a product reads: of a sparse matrix, the stored ones."""
    if matrix.layout is torch.sparse_coo:
        return matrix._values().numel()
    return matrix.values().numel() if matrix.layout in COMPRESSED else matrix.numel()


def _mm(first: Tensor, second: Tensor, *_: Any, **__: Any) -> int:
    if second.layout is torch.sparse_coo or second.layout in COMPRESSED:
        return 2 * first.shape[0] * _elements(second)
    return 2 * _elements(first) * second.shape[1]


def _addmm(_: Tensor, first: Tensor, second: Tensor, *__: Any, **___: Any) -> int:
    return _mm(first, second)


def _addbmm(_: Tensor, first: Tensor, second: Tensor, *__: Any, **___: Any) -> int:
    return 2 * first.numel() * second.shape[2]


def _mv(matrix: Tensor, *_: Any, **__: Any) -> int:
    return 2 * _elements(matrix)


def _addmv(_: Tensor, matrix: Tensor, *__: Any, **___: Any) -> int:
    return 2 * _elements(matrix)


def _dot(first: Tensor, *_: Any, **__: Any) -> int:
    return 2 * first.numel()


def _bilinear(first: Tensor, weight: Tensor, second: Tensor, *_: Any, **__: Any) -> int:
    """The products of two inputs' elements, as one long input of a matrix product."""
    return 2 * first.shape[0] * weight.numel()


def _distances(first: Tensor, second: Tensor, p: float, *_: Any, **__: Any) -> int:
    """Euclidean distances are a matrix product; torch computes few of them directly."""
    return 2 * first.numel() * second.shape[-2] if p == 2 else 0


def _many_distances(first: Tensor, second: Tensor, **_: Any) -> int:
    return _distances(first, second, 2)


def _packed_linear(x: Tensor, weights: Any, *_: Any, **__: Any) -> int:
    return 2 * (x.numel() // x.shape[-1]) * int(weights.unpack()[0].numel())


def _packed_convolution(_: Tensor, weights: Any, *__: Any, out_val: Tensor, **___: Any) -> int:
    return 2 * out_val.numel() * int(weights.unpack()[0][0].numel())


def _packed_transposed(x: Tensor, weights: Any, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * int(weights.unpack()[0][0].numel())


def _packed_cell(x: Tensor, _: Any, of_input: Any, of_state: Any, *__: Any, **___: Any) -> int:
    return _packed_linear(x, of_input) + 2 * (x.numel() // x.shape[-1]) * int(of_state.unpack()[0].numel())


def _packed_recurrent(x: Tensor, _: Any, cells: Any, *__: Any, **___: Any) -> int:
    """Each matrix of each layer and direction is used at each step."""
    matrices = (matrix for cell in cells for matrix in _matrices(cell.__getstate__()))
    return 2 * (x.numel() // x.shape[-1]) * sum(int(matrix.unpack()[0].numel()) for matrix in matrices)


def _matrices(state: object) -> Iterator[Any]:
    if isinstance(state, (list, tuple)):
        for part in state:
            yield from _matrices(part)
    elif isinstance(state, torch.ScriptObject):
        yield state


_aten, _quantized = torch.ops.aten, torch.ops.quantized
_CONVOLUTIONS = ("conv{}d", "conv{}d_relu", "conv{}d_dynamic")
_NAMES: dict[Any, tuple[str, ...]] = {
    _packed_linear: (
        "linear", "linear_relu", "linear_leaky_relu", "linear_tanh", "linear_dynamic", "linear_relu_dynamic",
        "linear_dynamic_fp16", "linear_relu_dynamic_fp16",
    ),
    _packed_convolution: (
        *(name.format(sides) for name in _CONVOLUTIONS for sides in (1, 2, 3)), "conv2d_add", "conv2d_add_relu",
    ),
    _packed_transposed: tuple(f"conv_transpose{sides}d{end}" for end in ("", "_dynamic") for sides in (1, 2, 3)),
    _packed_cell: (
        "quantized_lstm_cell_dynamic", "quantized_gru_cell_dynamic", "quantized_rnn_tanh_cell_dynamic",
        "quantized_rnn_relu_cell_dynamic",
    ),
}  # fmt: skip
PRODUCTS: dict[Any, Any] = {
    _aten.mm: _mm,
    _aten.addmm: _addmm,
    _aten._sparse_addmm: _addmm,
    _aten.addbmm: _addbmm,
    _aten.mv: _mv,
    _aten.addmv: _addmv,
    _aten.dot: _dot,
    _aten.vdot: _dot,
    _aten._trilinear: _bilinear,
    _aten._cdist_forward: _distances,
    _aten._euclidean_dist: _many_distances,
    _aten.quantized_lstm: _packed_recurrent,
    _aten.quantized_gru: _packed_recurrent,
    **{
        getattr(_quantized, name): count
        for count, names in _NAMES.items()
        for name in names
        if hasattr(_quantized, name)
    },
}
"""Operation -> what it costs."""
for _count in set(PRODUCTS.values()):
    _count._get_raw = True  # The counter gives tensors, not shapes.
