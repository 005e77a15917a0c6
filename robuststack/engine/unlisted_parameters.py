"""The parameters of a user's model that torch's own `parameters()` does not give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from robuststack.engine.held_modules import forward_code, held_modules, held_tensors
from robuststack.layers.program_graph import inlined_graph

OF_TORCH = frozenset(vars(nn.Module()))
"""What torch itself keeps in every module."""
PACKED = ("_packed_params", "_packed_weight", "_packed_weight_ih", "_packed_weight_hh", "param")
"""Under which names quantised layers keep packed weights: TorchScript does not list its attributes."""
STATISTICS = {"aten::batch_norm": (3, 4), "aten::instance_norm": (3, 4)}
"""Operation of TorchScript -> places of its arguments that are buffers."""
ARITHMETIC = tuple(f"aten::{name}{end}" for name in ("add", "sub", "rsub", "mul", "div") for end in ("", "_"))
"""Operations that a parameter and a fixed number, such as the mean of the pixels, look alike in."""


def unlisted_parameters(model: nn.Module) -> list[Tensor]:
    """The parameters that torch's `parameters()` leaves out, each once.

    These are: parameters, and those of modules, that a module keeps in lists, objects or functions, or that its `forward`
    reads from a closure or a global; the packed ones of quantised layers; the constants of frozen TorchScript.
    """
    listed = {id(parameter) for parameter in model.parameters()}
    hidden: dict[int, Tensor] = {}
    packed: dict[int, tuple[object, list[Tensor]]] = {}
    constants: list[Tensor] = []
    networks = [model]
    for network in networks:  # It grows: a network in a list may keep others in a list.
        constants += _constants(network)[0]
        for module in network.modules():
            for thing in _packed(module):
                packed.setdefault(id(thing), (thing, list(_unpacked(thing))))
            if isinstance(module, torch.jit.ScriptModule):  # It holds nothing in Python but views of its parts.
                continue
            kept = [value for name, value in vars(module).items() if name not in OF_TORCH]
            kept += forward_code(module)
            networks += [held for held in held_modules(kept) if all(held is not known for known in networks)]
            hidden |= {id(tensor): tensor for tensor in held_tensors(kept) if _is_parameter(tensor)}
        hidden |= {id(parameter): parameter for parameter in network.parameters()}
    elsewhere = [parameter for place, parameter in hidden.items() if place not in listed]
    return [*elsewhere, *(tensor for _, tensors in packed.values() for tensor in tensors), *constants]


def undecided_constants(model: nn.Module) -> int:
    """How many numbers of frozen TorchScript are parameters or fixed numbers: it does not say which."""
    return _constants(model)[1]


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) or (tensor.requires_grad and tensor.is_leaf)


def _packed(module: nn.Module) -> Iterator[torch.ScriptObject]:
    kept: Iterable[object] = vars(module).values()
    if isinstance(module, torch.jit.ScriptModule):
        kept = (getattr(module, name, None) for name in PACKED)
    yield from (value for value in kept if isinstance(value, torch.ScriptObject))


def _unpacked(packed: torch.ScriptObject) -> Iterator[Tensor]:
    """Weights and biases of a quantised layer, float32."""
    if "PackedParams" not in str(packed._type()) and "CellParams" not in str(packed._type()):
        return
    if packed._has_method("unpack"):  # type: ignore[attr-defined]
        unpacked = packed.unpack()  # type: ignore[attr-defined]
        yield from (tensor.dequantize() for tensor in unpacked if isinstance(tensor, Tensor))
        return
    # A recurrent layer repeats the biases that its packed matrices hold; an embedding has one table.
    inside = list(_flat(packed.__getstate__()))
    matrices = [part for part in inside if isinstance(part, torch.ScriptObject)]
    yield from (tensor for matrix in matrices for tensor in _unpacked(matrix))
    if not matrices:
        yield from (part.dequantize() for part in inside if isinstance(part, Tensor))


def _flat(thing: object) -> Iterator[object]:
    if isinstance(thing, (list, tuple)):
        for part in thing:
            yield from _flat(part)
    else:
        yield thing


def _constants(network: nn.Module) -> tuple[list[Tensor], int]:
    """The parameters that `torch.jit.freeze` made constants, and how many numbers may be some."""
    if not isinstance(network, torch.jit.ScriptModule) or not hasattr(network, "forward"):
        return [], 0
    weights: list[Tensor] = []
    undecided = 0
    graph = inlined_graph(network)
    for kind in ("prim::Constant", "prim::ConstantMKLDNNTensor"):
        for node in graph.findAllNodes(kind):
            output = node.output()
            value = node.t("value") if kind == "prim::ConstantMKLDNNTensor" else output.toIValue()
            if isinstance(value, torch.ScriptObject):
                weights += _unpacked(value)
            if not isinstance(value, Tensor) or not value.is_floating_point() or not output.uses():
                continue
            uses = [(use.user.kind(), use.offset) for use in output.uses()]
            if all(place in STATISTICS.get(operation, ()) for operation, place in uses):
                continue
            name = output.debugName().rpartition(".")[2]
            if all(use in ARITHMETIC for use, _ in uses) and "weight" not in name and "bias" not in name:
                undecided += value.numel()
            else:
                weights.append(value.to_dense() if value.is_mkldnn else value)
    return weights, undecided
