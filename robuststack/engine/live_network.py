"""A model of a running program as a network that the engine may move and freeze; the program's own stays as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from robuststack.attacks.frozen_eval import eval_mode, frozen_eval, modes
from robuststack.engine.fitted import same, unwrapped
from robuststack.engine.held_modules import held_modules
from robuststack.engine.object_hash import object_hash
from robuststack.engine.random_streams import seeded
from robuststack.errors import ModelError
from robuststack.layers.condition import Condition, attach


class Function(nn.Module):
    """A function as a network: images float32 [N, C, H, W] in [0, 1] -> logits [N, K], a tensor or an array.

    The modules that it holds are its own: they are counted, moved, and in eval mode when it is called.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.held = nn.ModuleList(held_modules(function))

    def forward(self, x: Tensor) -> Any:
        logits = self.function(x)
        if isinstance(logits, (Tensor, tuple, Mapping)):
            return logits
        return torch.as_tensor(logits, dtype=torch.float32, device=x.device)


class Tuned(nn.Module):
    """A model with a network for each of its points; views choose by the values of the knobs (`condition_of`)."""

    condition: Condition

    def __init__(self, networks: Mapping[str, nn.Module], knobs: Sequence[str]) -> None:
        super().__init__()
        self.knobs = tuple(knobs)
        self.places = {point: place for place, point in enumerate(networks)}
        self.networks = nn.ModuleList(networks.values())
        attach(self, Condition(*condition_of(dict.fromkeys(knobs))))

    def at(self, values: Mapping[str, Any]) -> nn.Module:
        """The network of a view with these values."""
        point = dict(zip(self.knobs, (values[field] for field in condition_of(dict.fromkeys(self.knobs))), strict=True))
        return self.networks[self.places[point_key(point)]]

    def forward(self, x: Tensor) -> Any:
        return self.at({field: self.condition.read(field) for field in self.condition.fields})(x)


def condition_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the condition for a point: a knob of the user's may be called as a field that layers here read."""
    return {f"at.{knob}": value for knob, value in point.items()}


def point_key(point: Mapping[str, Any]) -> str:
    """An operating point as text, the same for the same values."""
    return json.dumps(dict(point), sort_keys=True)


def live_network(
    model: object, points: Sequence[Mapping[str, Any]], shape: tuple[int, int, int] | None = None
) -> nn.Module:
    """A network of a program's own model: a module, or a function of images; with `points`, anything with a method `at`,
    which is called with the knobs of each.

    It is a copy. Each point gets a copy of the whole model, since `at` may set something in it. A model that cannot be
    copied is used itself (`untouched` puts its modes back). With the `shape` (C, H, W) of images, the networks are called
    too: `at` may set what no copy holds, such as a variable of a library or of the process.

    Raises:
        ModelError: it is neither a module nor a function, or its `at` fails.
    """
    if not points:
        return _as_network(copied(model), repr(type(model).__name__))
    return Tuned(_networks(model, points, shape), list(points[0]))


def _networks(
    model: object, points: Sequence[Mapping[str, Any]], shape: tuple[int, int, int] | None
) -> dict[str, nn.Module]:
    """The network of each point, by the point's key.

    Raises:
        ModelError: `at` fails, or what it returned for one point is another one once it is called for the next, and no
            copy can keep it.
    """
    changed: Mapping[str, Any] = {}
    # `at` may set a global, a class's attribute, or something in a model that cannot be copied, and return that.
    for keep in (_itself, copied):
        networks: dict[str, nn.Module] = {}
        seen: dict[str, tuple[str, Tensor | None]] = {}
        for point in points:
            key = point_key(point)
            if key not in networks:
                networks[key] = _as_network(keep(_at(model, point)), _called(model, point))
                seen[key] = object_hash(networks[key]), _logits(networks[key], shape)
        changed = next((point for point in points if _is_another(networks, seen, point_key(point), shape)), {})
        if not changed:
            return networks
    raise ModelError(
        f"what {_called(model, changed)} returns is changed by a later call of `at`, so that its figures would be those of"
        " another point; let `at` return a copy (copy.deepcopy), or a function that holds its own values"
    )


def _is_another(
    networks: Mapping[str, nn.Module],
    seen: Mapping[str, tuple[str, Tensor | None]],
    key: str,
    shape: tuple[int, int, int] | None,
) -> bool:
    """Whether the network of a point is not what it was when it was made."""
    made, before = seen[key]
    if object_hash(networks[key]) != made:
        return True
    now = None if before is None else _logits(networks[key], shape)
    return before is not None and (now is None or not same(now, before))


@torch.no_grad()
def _logits(network: nn.Module, shape: tuple[int, int, int] | None) -> Tensor | None:
    """The logits of a network; None if it gives none, or not twice the same."""
    if shape is None:
        return None
    try:
        # Of a module a copy: it may keep what it computes. A copy of a function would call the same modules, which only
        # the function itself puts into eval mode.
        called = network if isinstance(network, Function) else copied(network)
        images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        images = images.to(next(called.parameters(), images))
        with frozen_eval(called):
            first, second = (_of_seed(called, images.clone()) for _ in range(2))
    except Exception:  # The probe says what is wrong with it.
        return None
    return first if same(first, second) else None


def _of_seed(network: nn.Module, images: Tensor) -> Tensor:
    with seeded("points"):
        logits: Tensor = unwrapped(network(images), len(images))
    return logits.float()


def _itself(network: Any) -> Any:
    return network


def _at(model: Any, point: Mapping[str, Any]) -> Any:
    """What the method `at` of a copy of the model returns."""
    try:
        return copied(model).at(**point)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{_called(model, point)} fails: {reason}") from error


def _called(model: object, point: Mapping[str, Any]) -> str:
    """The call of `at`, as a program writes it."""
    return f"{type(model).__name__}.at({', '.join(f'{knob}={value!r}' for knob, value in point.items())})"


def refuse_without_weights(model: nn.Module, name: str) -> None:
    """Raises:
    ModelError: some of the model's weights have no values, or its modules cannot be listed.
    """
    _listed(model, name)
    tensors = list(chain(model.named_parameters(), model.named_buffers()))
    unmade = next((path for path, tensor in tensors if nn.parameter.is_lazy(tensor)), None)
    if unmade is not None:
        raise ModelError(
            f"{name} has no weights yet: {unmade} is of a lazy layer, which makes them when it is first called;"
            " call the model once in the function, and load its weights"
        )
    empty = next((path for path, tensor in tensors if tensor.is_meta), None)
    if empty is not None:
        raise ModelError(
            f"{name} has no weights: {empty} is on torch's meta device, without values; build the model on the cpu, or"
            " load its weights with assign=True"
        )


def _listed(model: nn.Module, name: str) -> list[nn.Module]:
    """Its modules.

    Raises:
        ModelError: torch cannot list them.
    """
    try:
        return list(model.modules())
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        equal = " (a dataclass that is a module needs eq=False)" if isinstance(error, TypeError) else ""
        raise ModelError(f"the modules of {name} cannot be listed: {reason}{equal}") from error


def _as_network(model: object, name: str) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if callable(model):
        function = Function(model)
        if any(weight.is_inference() for weight in function.parameters()):
            raise ModelError(
                f"{name} calls weights that were made under torch.inference_mode(), which torch keeps out of gradients;"
                " make them outside of it, or let it call a copy.deepcopy of their module"
            )
        return function
    knobs = "; for its method `at`, give points={knob: values}" if callable(getattr(model, "at", None)) else ""
    raise ModelError(
        f"{name} is no model; valid: a torch.nn.Module, or a function of images that returns logits{knobs}"
    )


def copied(model: Any) -> Any:
    """A deep copy of a model, or the model itself if it cannot be copied."""
    try:
        with torch.no_grad():  # Parameters of TorchScript would be copied with a history.
            copy_of_it = copy.deepcopy(model)
    except Exception:  # Tensors with a history, open files, locks.
        return model
    for own, new in zip(_parameters(model), _parameters(copy_of_it), strict=False):
        if new.requires_grad != own.requires_grad:
            new.requires_grad_(own.requires_grad)
    return copy_of_it


def _parameters(model: object) -> Iterator[nn.Parameter]:
    return chain.from_iterable(module.parameters() for module in held_modules(model))


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """Afterwards a program's own modules have their modes, what stands in for their `forward`, their device and the layout
    of their weights as before: those that a function calls are no copies.

    Raises:
        ModelError: torch cannot list its modules.
    """
    networks = held_modules(model)
    modules = [module for network in networks for module in _listed(network, repr(type(network).__name__))]
    before = [pair for network in networks for pair in modes(network)]
    devices = [_device(network) for network in networks]
    forwards = [module.__dict__.get("forward") for module in modules]
    gradients = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters(False)]
    layouts = [(tensor, tensor.stride()) for network in networks for tensor in _laid_out(network)]
    try:
        yield
    finally:
        for network, device in zip(networks, devices, strict=True):
            if _device(network) != device:
                network.to(device)
        for tensor, strides in layouts:
            if tensor.stride() != strides:
                tensor.data = torch.empty_strided(
                    tensor.shape, strides, dtype=tensor.dtype, device=tensor.device
                ).copy_(tensor.data)
        for module, mode in before:
            module.training = mode
        for module, forward in zip(modules, forwards, strict=True):
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
        for parameter, wanted in gradients:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)


def _laid_out(module: nn.Module) -> Iterator[Tensor]:
    """Its weights whose values lie one after the other, in whatever order of the axes."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.layout is not torch.strided or nn.parameter.is_lazy(tensor):
            continue
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        if extent == tensor.numel():
            yield tensor


def _device(module: nn.Module) -> torch.device | None:
    """Where the module is; None if it has no weights."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return None if tensor is None else tensor.device


@torch.no_grad()
def classes_of(model: object, image: Tensor) -> int | None:
    """How many classes a module or function tells apart, from its logits of images [N, C, H, W] repeated to two; None if it
    gives no such logits (the probe says why)."""
    try:
        network = _as_network(copied(model), "")
        # Where the model is, and of its type.
        pair = torch.cat([image, image])[:2].to(next(network.parameters(), image))
        with untouched(model):
            eval_mode(network)
            logits = network(pair)
    except Exception:
        return None
    logits = unwrapped(logits, len(pair))
    return int(logits.shape[1]) if isinstance(logits, Tensor) and logits.dim() == 2 else None
